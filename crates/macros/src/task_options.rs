//! The options of `#[ropewalk::task(..)]`: from what is written to a constant, and a name if one is given.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Error, LitInt, LitStr};

/// What is said when an option is not known.
const KNOWN: &str = "`#[ropewalk::task]` knows the options `name = \"..\"`, `queue = \"..\"`, `retries = 5`, `timeout = \"5m\"` and `unique`";

/// What the options say.
#[derive(Default)]
pub(crate) struct Options {
    /// The constant of the trait; nothing when it would be the trait's own.
    pub(crate) constant: TokenStream,
    /// The stable name, if it is not the path of the function.
    pub(crate) name: Option<LitStr>,
}

pub(crate) fn read(options: TokenStream) -> Result<Options, Error> {
    if options.is_empty() {
        return Ok(Options::default());
    }
    let mut stable = None;
    let mut made = quote!(::ropewalk::task::TaskOptions::new());
    let mut seen: Vec<String> = Vec::new();
    syn::meta::parser(|meta| {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if seen.contains(&name) {
            return Err(meta.error(format!("`{name}` is said twice")));
        }
        if name == "name" {
            stable = Some(stable_name(&meta)?);
        } else {
            let next = one(&name, &meta)?;
            made = quote!(#made #next);
        }
        seen.push(name);
        Ok(())
    })
    .parse2(options)?;
    let constant = quote!(const OPTIONS: ::ropewalk::task::TaskOptions = #made;);
    Ok(Options { constant, name: stable })
}

fn stable_name(meta: &ParseNestedMeta<'_>) -> Result<LitStr, Error> {
    let name: LitStr = meta.value()?.parse()?;
    let text = name.value();
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::new_spanned(
            name,
            "a name has no spaces: `app.tasks.thumb`, as other programs know the task",
        ));
    }
    Ok(name)
}

fn one(name: &str, meta: &ParseNestedMeta<'_>) -> Result<TokenStream, Error> {
    match name {
        "queue" => {
            let queue: LitStr = meta.value()?.parse()?;
            if queue.value().is_empty() || queue.value().chars().any(char::is_control) {
                return Err(Error::new_spanned(queue, "a queue needs a name without control characters"));
            }
            Ok(quote!(.queue(#queue)))
        }
        "retries" => {
            let retries: LitInt = meta.value()?.parse()?;
            retries.base10_parse::<u32>().map_err(|_| {
                Error::new_spanned(&retries, "`retries` is a number of tries after the first, from 0 on")
            })?;
            Ok(quote!(.retries(#retries)))
        }
        "timeout" => {
            let written: LitStr = meta.value()?.parse()?;
            let millis = millis(&written.value()).ok_or_else(|| {
                Error::new_spanned(
                    &written,
                    "a timeout is a number above 0 with its unit: `500ms`, `30s`, `5m` or `2h`",
                )
            })?;
            Ok(quote!(.timeout_ms(#millis)))
        }
        "unique" if meta.input.peek(syn::Token![=]) => {
            Err(meta.error("`unique` has no value: a key is chosen where the job is enqueued, with `.unique(..)`"))
        }
        "unique" => Ok(quote!(.unique())),
        _ => Err(meta.error(KNOWN)),
    }
}

fn millis(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit).filter(|millis| *millis > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &str) -> String {
        match read(options.parse().unwrap()) {
            Ok(options) => options.constant.to_string().replace(' ', ""),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_option_becomes_a_constant() {
        assert_eq!(text(""), "");
        let made = text(r#"queue = "img", retries = 5, timeout = "5m", unique"#);
        assert!(
            made.ends_with(r#"TaskOptions::new().queue("img").retries(5).timeout_ms(300000u64).unique();"#),
            "{made}"
        );
    }

    #[test]
    fn a_name_is_no_part_of_the_constant() {
        let options = read(r#"name = "app.tasks.thumb", retries = 5"#.parse().unwrap()).unwrap();
        assert_eq!(options.name.unwrap().value(), "app.tasks.thumb");
        assert!(!options.constant.to_string().contains("app.tasks"));
    }

    #[test]
    fn mistakes_are_named() {
        for (options, says) in [
            ("color = 3", "knows the options"),
            ("retries = 5, retries = 6", "`retries` is said twice"),
            ("timeout = \"5\"", "with its unit"),
            ("timeout = \"0s\"", "above 0"),
            ("timeout = \"99999999999999999999h\"", "with its unit"),
            ("retries = -1", "a number of tries"),
            ("queue = \"\"", "a queue needs a name"),
            ("name = \"\"", "a name has no spaces"),
            ("name = \"app tasks\"", "a name has no spaces"),
            ("unique = \"k\"", "`unique` has no value"),
        ] {
            assert!(text(options).contains(says), "{options}: {}", text(options));
        }
    }
}
