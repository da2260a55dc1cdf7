//! `#[ropewalk::main]`: the body of `main` moves into a closure that `::ropewalk::__private::run_main` runs.
//!
//! ```text
//! fn main() -> R { body }         becomes   fn main() -> R { ::ropewalk::__private::run_main(move || -> R { body }) }
//! async fn main() -> R { body }   becomes   fn main() -> R { ::ropewalk::__private::run_main_async(async move { body }) }
//! ```
//!
//! Where another attribute below makes a `main` (`#[tokio::main]`), that one stays as it is, inside of a `main` that calls
//! `::ropewalk::__private::init()` first.
//!
//! All policy (what is waited for, what a panic does) is in `run_main`, where it is ordinary code with tests. The closure
//! names its return type so that a wrong tail expression is reported at the place where the person wrote it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ItemFn, ReturnType, Type, parse_quote};

/// The attribute as a function of tokens.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return not_a_main(&item, error),
    };
    if let Err(error) = check(options, &function) {
        // Still a `main`, so that the mistake is the only error.
        let error = error.into_compile_error();
        if function.sig.ident == "main" {
            function.sig = parse_quote!(fn main());
            function.block = parse_quote!({});
        }
        return quote!(#function #error);
    }
    if function.attrs.iter().any(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "main"))
    {
        return around_another_main(&function);
    }
    let body = &function.block;
    let returns = match &function.sig.output {
        ReturnType::Default => quote!(),
        // A closure cannot name an `impl Trait`; inference finds it.
        ReturnType::Type(_, written) if names_impl(written) => quote!(),
        written => written.to_token_stream(),
    };
    let run = match function.sig.asyncness.take() {
        None => quote_spanned!(body.span()=> ::ropewalk::__private::run_main(move || #returns #body)),
        Some(_) => quote_spanned!(body.span()=> ::ropewalk::__private::run_main_async(async move #body)),
    };
    function.block = parse_quote!({ #run });
    function.into_token_stream()
}

/// Another attribute below makes the `main`, of a runtime of its own. Ours then only sees to what must come first, in which no
/// thread may run yet: that a process which was started as a worker goes no further.
fn around_another_main(function: &ItemFn) -> TokenStream {
    let (output, visibility) = (&function.sig.output, &function.vis);
    quote! {
        #visibility fn main() #output {
            ::ropewalk::__private::init();
            #function
            main()
        }
    }
}

/// Whether the attribute can stand on this function, in the words of its user.
fn check(options: TokenStream, function: &ItemFn) -> Result<(), Error> {
    let sig = &function.sig;
    if !options.is_empty() {
        return Err(Error::new_spanned(
            &options,
            format!("`#[ropewalk::main]` takes no options (found `{options}`): write `#[ropewalk::main]` alone"),
        ));
    }
    if sig.ident != "main" {
        return Err(Error::new(
            sig.ident.span(),
            format!(
                "`#[ropewalk::main]` belongs on `fn main`, not on `fn {}`: it waits for the threads of the whole program",
                sig.ident
            ),
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            "`main` takes no arguments: read those of the command line with `std::env::args()`",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(&sig.generics, "`main` cannot be generic"));
    }
    Ok(())
}

/// The answer to an item that is no function with a body.
fn not_a_main(item: &TokenStream, parse_error: Error) -> TokenStream {
    let what = crate::what_is_it(item);
    let error = if what == "something else" {
        // A syntax error inside a function: the parser's own message is the precise one.
        parse_error
    } else {
        Error::new_spanned(item, format!("`#[ropewalk::main]` goes on `fn main() {{ .. }}`, and this is {what}"))
    };
    let error = error.into_compile_error();
    quote!(#item #error)
}

/// Whether a type mentions `impl Trait`.
fn names_impl(written: &Type) -> bool {
    fn walk(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(word) => word == "impl",
            proc_macro2::TokenTree::Group(group) => walk(group.stream()),
            _ => false,
        })
    }
    walk(written.to_token_stream())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token streams and people put their spaces differently.
    fn tight(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn expanded(options: &str, item: &str) -> String {
        tight(&expand(options.parse().unwrap(), item.parse().unwrap()).to_string())
    }

    #[track_caller]
    fn refused(options: &str, item: &str, because: &str) {
        let text = expanded(options, item);
        assert!(text.contains("compile_error!"), "was accepted: {text}");
        assert!(text.contains(&tight(because)), "{because:?} is missing in: {text}");
    }

    #[test]
    fn body_moves_into_run_main_with_its_return_type() {
        let text = expanded("", "fn main() -> Result<(), Box<dyn Error>> { work()?; Ok(()) }");
        let wanted = "fn main() -> Result<(), Box<dyn Error>> { ::ropewalk::__private::run_main(move || -> Result<(), Box<dyn Error>> { work()?; Ok(()) }) }";
        assert_eq!(text, tight(wanted));
    }

    #[test]
    fn impl_trait_is_left_to_inference() {
        let text = expanded("", "fn main() -> impl Termination { 3 }");
        assert!(text.contains("run_main(move||{3})"), "{text}");
    }

    #[test]
    fn async_main_becomes_a_future() {
        let text = expanded("", "async fn main() -> u8 { work().await }");
        let wanted = "fn main() -> u8 { ::ropewalk::__private::run_main_async(async move { work().await }) }";
        assert_eq!(text, tight(wanted));
    }

    #[test]
    fn another_main_attribute_is_left_alone_behind_init() {
        let text = expanded("", "#[tokio::main] async fn main() -> u8 { work().await }");
        let wanted = "fn main() -> u8 { ::ropewalk::__private::init(); #[tokio::main] async fn main() -> u8 { work().await } main() }";
        assert_eq!(text, tight(wanted));
    }

    #[test]
    fn arguments_options_other_names_and_other_items_are_refused() {
        refused("", "fn main(a: u8) {}", "takes no arguments");
        refused("threads = 3", "fn main() {}", "takes no options (found `threads = 3`)");
        refused("", "fn serve() {}", "not on `fn serve`");
        refused("", "fn main<T>() {}", "cannot be generic");
        refused("", "struct Main;", "this is a struct");
        refused("", "fn main();", "a function without a body");
    }
}
