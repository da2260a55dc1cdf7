//! `#[ropewalk::task]`: a function, and beside it the value of its call.
//!
//! ```text
//! pub fn thumb(path: PathBuf, size: u32) -> io::Result<u64> { .. }      // untouched, attributes and docs included
//!
//! pub struct thumb { pub path: PathBuf, pub size: u32 }                 // braced, so only the type namespace is taken
//! impl thumb {
//!     pub fn call(path: PathBuf, size: u32) -> ::ropewalk::Call<thumb, u64> {
//!         ::ropewalk::Call::new(<thumb as Task>::NAME, thumb { path, size }, <thumb as Task>::run)
//!     }
//! }
//! impl ::ropewalk::task::Task for thumb {                               // name, parameters, arguments to and from a tuple
//!     fn run(self) -> Result<u64, TaskError> { into_outcome(thumb(self.path, self.size)) }  ..
//! }
//! ```
//!
//! `run` is a plain `fn` item: a call is data plus an address, which is what lets it travel. It is no part of
//! `call`'s body and reads the arguments from fields, so an argument may have any name, that of the function included.
//!
//! Leading parameters `State<T>` and `&JobContext` are no arguments: they are lent by whoever runs the task. Then the work is in
//! `run_in`, and `run` calls that with the context of a task which no worker runs.
//!
//! The struct derives nothing: a derive would be a demand on the argument types that nobody wrote down.
//!
//! The checks come before the expansion and speak about the function as its author sees it. Everything that the compiler
//! says well by itself (duplicate names, unknown types) is left to it.

use crate::task_options;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, GenericParam, ItemFn, Pat, PathArguments, ReturnType, Signature, Type,
    TypeParamBound,
};

/// The attribute as a function of tokens.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => return not_a_function(&item, error),
    };
    match check(&function.sig).and_then(|()| Task::read(options, &function)) {
        Ok(task) => {
            let beside = task.beside();
            quote!(#function #beside)
        }
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#function #error)
        }
    }
}

/// One argument of the task: a field of the struct and a parameter of `call`.
struct Argument {
    name: Ident,
    kind: Type,
}

/// A leading parameter that is no argument.
enum Lent {
    /// `State<T>`, with its `T`.
    State(Box<Type>),
    /// `&JobContext`.
    Job,
}

/// What the expansion needs to know of the function.
struct Task<'f> {
    function: &'f ItemFn,
    options: task_options::Options,
    lent: Vec<Lent>,
    arguments: Vec<Argument>,
    output: Output,
}

/// How the return type becomes an outcome.
enum Output {
    /// The return type is the output.
    Plain(Type),
    /// `Result<T, ..>`: the output is `T`, an error is a failure of the task.
    Fallible(Type),
}

impl<'f> Task<'f> {
    fn read(options: TokenStream, function: &'f ItemFn) -> Result<Self, Error> {
        let mut errors = Errors::default();
        let mut arguments = Vec::new();
        let options = match task_options::read(options) {
            Ok(options) => options,
            Err(error) => {
                errors.push(error);
                task_options::Options::default()
            }
        };
        let lent: Vec<Lent> = function.sig.inputs.iter().map_while(read_lent).collect();
        for input in function.sig.inputs.iter().skip(lent.len()) {
            match read_argument(input) {
                Ok(argument) => arguments.push(argument),
                Err(error) => errors.push(error),
            }
        }
        let output = match read_output(&function.sig) {
            Ok(output) => Some(output),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        errors.finish()?;
        let output = output.expect("an output that is missing is an error, returned above");
        Ok(Task { function, options, lent, arguments, output })
    }

    /// The struct and its `call`.
    fn beside(&self) -> TokenStream {
        let Signature { ident, inputs: _, .. } = &self.function.sig;
        let vis = &self.function.vis;
        let inherited: Vec<&Attribute> = self.function.attrs.iter().filter(|a| carries_over(a)).collect();
        let plain_name = ident.unraw().to_string();
        let names: Vec<&Ident> = self.arguments.iter().map(|a| &a.name).collect();
        let kinds: Vec<&Type> = self.arguments.iter().map(|a| &a.kind).collect();
        let bound: Vec<Ident> =
            (0..names.len()).map(|n| Ident::new(&format!("argument_{n}"), Span::mixed_site())).collect();
        let plain_names = names.iter().map(|name| name.unraw().to_string());

        let struct_doc = format!(
            "The arguments of the task [`{plain_name}`](fn@{ident}) as a value; [`{plain_name}::call`](struct@{ident}) makes \
             its call."
        );
        let field_docs = names.iter().map(|name| format!("The argument `{}`.", name.unraw()));
        let call_doc = format!(
            "The call `{plain_name}({})` as a value that can be submitted to an executor; nothing runs yet.",
            names.iter().map(|name| name.unraw().to_string()).collect::<Vec<_>>().join(", ")
        );
        let job = Ident::new("job", Span::mixed_site());
        let lent: Vec<TokenStream> = self
            .lent
            .iter()
            .map(|lent| match lent {
                Lent::State(kind) => quote_spanned!(kind.span()=> #job.state::<#kind>()?),
                Lent::Job => quote!(#job),
            })
            .collect();
        let work = quote!(#ident(#(#lent,)* #(self.#names),*));
        let (output, outcome) = match &self.output {
            Output::Plain(output) => (output, quote!(::core::result::Result::Ok(#work))),
            Output::Fallible(output) => (output, quote!(::ropewalk::__private::into_outcome(#work))),
        };
        let runs = if lent.is_empty() {
            quote! {
                fn run(self) -> ::core::result::Result<#output, ::ropewalk::TaskError> {
                    #outcome
                }
            }
        } else {
            quote! {
                fn run(self) -> ::core::result::Result<#output, ::ropewalk::TaskError> {
                    self.run_in(&::ropewalk::JobContext::outside())
                }

                fn run_in(self, #job: &::ropewalk::JobContext) -> ::core::result::Result<#output, ::ropewalk::TaskError> {
                    #outcome
                }
            }
        };
        let options = &self.options.constant;
        let stable_name = match &self.options.name {
            Some(name) => quote!(#name),
            None => quote!(::core::concat!(::core::module_path!(), "::", #plain_name)),
        };
        // The bound is checked here and not at the first `submit`, so that the compiler points at the argument. The names
        // of the two functions are what it prints.
        let argument_checks =
            kinds.iter().map(|kind| quote_spanned!(kind.span()=> the_arguments_of_a_task_must_be_send::<#kind>();));
        let output_check = quote_spanned!(output.span()=> the_output_of_a_task_must_be_send::<#output>(););

        quote! {
            #(#inherited)*
            #[doc = #struct_doc]
            #[allow(non_camel_case_types, dead_code, missing_debug_implementations, missing_copy_implementations)]
            #vis struct #ident {
                #( #[doc = #field_docs] #vis #names: #kinds, )*
            }

            #(#inherited)*
            #[allow(dead_code, deprecated, clippy::too_many_arguments)]
            impl #ident {
                #[doc = #call_doc]
                #[must_use = "a call does nothing until it is submitted or run"]
                #vis fn call(#( #names: #kinds ),*) -> ::ropewalk::Call<#ident, #output> {
                    ::ropewalk::Call::new(
                        <#ident as ::ropewalk::task::Task>::NAME,
                        #ident { #( #names ),* },
                        <#ident as ::ropewalk::task::Task>::run,
                    )
                }
            }

            #(#inherited)*
            // Without arguments the tuple is the unit.
            #[allow(deprecated, clippy::unused_unit)]
            impl ::ropewalk::task::Task for #ident {
                type Tuple = (#(#kinds,)*);
                type Output = #output;
                const NAME: &'static str = #stable_name;
                const PARAMETERS: &'static [&'static str] = &[#(#plain_names),*];
                #options

                fn into_tuple(self) -> Self::Tuple {
                    (#(self.#names,)*)
                }

                fn from_tuple((#(#bound,)*): Self::Tuple) -> Self {
                    #ident { #( #names: #bound ),* }
                }

                #runs
            }

            #(#inherited)*
            const _: fn() = || {
                fn the_arguments_of_a_task_must_be_send<T: ::core::marker::Send + 'static>() {}
                fn the_output_of_a_task_must_be_send<T: ::core::marker::Send + 'static>() {}
                #(#argument_checks)*
                #output_check
                // A task without arguments uses only one of them.
                let _ = the_arguments_of_a_task_must_be_send::<()>;
            };
        }
    }
}

/// Attributes of the function that hold for the struct as well: whether it exists at all, and whether it is shown.
fn carries_over(attribute: &Attribute) -> bool {
    let path = attribute.path();
    path.is_ident("cfg")
        || (path.is_ident("doc") && attribute.meta.to_token_stream().to_string().replace(' ', "") == "doc(hidden)")
}

/// Whether the function as a whole can be a task.
fn check(sig: &Signature) -> Result<(), Error> {
    let mut errors = Errors::default();
    if let Some(word) = &sig.asyncness {
        errors.push(Error::new(
            word.span,
            format!(
                "an `async fn` cannot be a task: make it a plain `fn {}` and wait for futures inside it with \
                 `ropewalk::block_on(..)`",
                sig.ident
            ),
        ));
    }
    if let syn::Safety::Unsafe(word) = &sig.safety {
        errors.push(Error::new(
            word.span,
            "an `unsafe fn` cannot be a task: the executor that calls it cannot keep a promise it does not know; make a safe \
             function around it",
        ));
    }
    if let Some(receiver) = sig.receiver() {
        errors.push(Error::new_spanned(
            receiver,
            format!(
                "a method cannot be a task: write a free function `fn {}(..)` that takes what it needs as arguments by value",
                sig.ident
            ),
        ));
    }
    for parameter in &sig.generics.params {
        errors.push(match parameter {
            GenericParam::Lifetime(lifetime) => Error::new_spanned(
                lifetime,
                "a task outlives its caller and cannot borrow: take the arguments by value (`String`, `Vec<T>`, `PathBuf`, \
                 `Arc<T>`)",
            ),
            GenericParam::Type(kind) => Error::new_spanned(
                &kind.ident,
                format!(
                    "a generic function cannot be a task, since a task is one function with one name: write a task for the \
                     type you mean, which calls this function (found `{}`)",
                    kind.ident
                ),
            ),
            GenericParam::Const(constant) => Error::new_spanned(
                &constant.ident,
                format!(
                    "a generic function cannot be a task, since a task is one function with one name: make `{}` an argument",
                    constant.ident
                ),
            ),
        });
    }
    errors.finish()
}

/// What a parameter is lent, if it is one of those that are no arguments.
fn read_lent(input: &FnArg) -> Option<Lent> {
    let FnArg::Typed(input) = input else { return None };
    match &*input.ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            let Type::Path(path) = &*reference.elem else { return None };
            (path.path.segments.last()?.ident == "JobContext").then_some(Lent::Job)
        }
        Type::Path(path) => {
            let last = path.path.segments.last().filter(|last| last.ident == "State")?;
            let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
            match list.args.first() {
                Some(GenericArgument::Type(kind)) if list.args.len() == 1 => Some(Lent::State(Box::new(kind.clone()))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The field that an argument becomes.
fn read_argument(input: &FnArg) -> Result<Argument, Error> {
    let FnArg::Typed(input) = input else {
        return Err(Error::new_spanned(input, "a method cannot be a task"));
    };
    if let Some(attribute) = input.attrs.iter().find(|a| a.path().is_ident("cfg") || a.path().is_ident("cfg_attr")) {
        return Err(Error::new_spanned(
            attribute,
            "an argument of a task cannot be conditional: put the `cfg` on the whole function",
        ));
    }
    let name = match &*input.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => pattern.ident.clone(),
        Pat::Wild(unnamed) => {
            return Err(Error::new_spanned(
                unnamed,
                format!(
                    "this argument needs a name, because it becomes a field of the task's call: write `_name: {}`",
                    pretty(&input.ty)
                ),
            ));
        }
        unnamed => {
            return Err(Error::new_spanned(
                unnamed,
                format!(
                    "this argument needs a plain name, because it becomes a field of the task's call: write `name: {}` and \
                     take it apart in the body",
                    pretty(&input.ty)
                ),
            ));
        }
    };
    if let Some(found) = borrowed(&input.ty) {
        let error = match found {
            Borrow::Reference(place, instead) => {
                Error::new_spanned(place, format!("a task outlives its caller: take {instead}"))
            }
            Borrow::Lifetime(place) => Error::new_spanned(
                place,
                "a task outlives its caller and cannot borrow: take the value itself (`'static` is the only lifetime that a \
                 task can name)",
            ),
            Borrow::ImplTrait(place) => Error::new_spanned(
                place,
                "`impl Trait` makes this function generic, and a task is one function with one name: write the type you mean, \
                 or `Box<dyn Trait + Send>`",
            ),
        };
        return Err(error);
    }
    Ok(Argument { name, kind: (*input.ty).clone() })
}

/// The output of the task.
fn read_output(sig: &Signature) -> Result<Output, Error> {
    let written = match &sig.output {
        ReturnType::Default => {
            // With the place of the name, so that an error about it has one.
            let unit = quote_spanned!(sig.ident.span()=> ());
            return Ok(Output::Plain(syn::parse2(unit)?));
        }
        ReturnType::Type(_, written) => &**written,
    };
    match borrowed(written) {
        Some(Borrow::ImplTrait(place)) => {
            return Err(Error::new_spanned(
                place,
                "the output of a task needs a type with a name: write the type, or `Box<dyn Trait + Send>`",
            ));
        }
        Some(Borrow::Reference(place, _) | Borrow::Lifetime(place)) => {
            return Err(Error::new_spanned(
                place,
                "a task outlives its caller, so its output cannot borrow: return the value itself",
            ));
        }
        None => {}
    }
    if let Type::Never(never) = written {
        return Err(Error::new_spanned(never, "a task has an outcome, so it must return: leave out `-> !`"));
    }
    let Type::Path(path) = written else { return Ok(Output::Plain(written.clone())) };
    let Some(last) = path.path.segments.last() else { return Ok(Output::Plain(written.clone())) };
    if !last.ident.to_string().ends_with("Result") {
        return Ok(Output::Plain(written.clone()));
    }
    let first_type = match &last.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().find_map(|argument| match argument {
            GenericArgument::Type(first) => Some(first.clone()),
            _ => None,
        }),
        _ => None,
    };
    match first_type {
        Some(first) => Ok(Output::Fallible(first)),
        // `fmt::Result` and the like. A longer name without arguments (`SearchResult`) is most often a type of its own.
        None if last.ident == "Result" => Err(Error::new_spanned(
            written,
            format!(
                "`{}` hides the types a task must know: write them out, as in `Result<(), Error>`",
                pretty(written)
            ),
        )),
        None => Ok(Output::Plain(written.clone())),
    }
}

/// Something in a type that cannot outlive the caller, or is not one type; with the tokens to underline.
enum Borrow {
    /// A reference, and what to take instead.
    Reference(TokenStream, String),
    Lifetime(TokenStream),
    ImplTrait(TokenStream),
}

/// The first thing in a type that a task cannot carry. Types of functions (`fn(&str)`, `dyn Fn(&str)`) borrow nothing.
fn borrowed(kind: &Type) -> Option<Borrow> {
    match kind {
        Type::Reference(reference) => {
            let is_static = reference.lifetime.as_ref().is_some_and(|l| l.ident == "static");
            if is_static && reference.mutability.is_none() {
                return borrowed(&reference.elem);
            }
            Some(Borrow::Reference(
                reference.to_token_stream(),
                owned_form(&reference.elem, reference.mutability.is_some()),
            ))
        }
        Type::ImplTrait(found) => Some(Borrow::ImplTrait(found.to_token_stream())),
        Type::Path(path) => {
            let inside = path.qself.as_ref().and_then(|q| borrowed(&q.ty));
            inside.or_else(|| path.path.segments.iter().find_map(|segment| borrowed_arguments(&segment.arguments)))
        }
        Type::TraitObject(object) => object.bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Lifetime(lifetime) if lifetime.ident != "static" => {
                Some(Borrow::Lifetime(lifetime.to_token_stream()))
            }
            TypeParamBound::Trait(bound) => {
                bound.path.segments.iter().find_map(|segment| borrowed_arguments(&segment.arguments))
            }
            _ => None,
        }),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(borrowed),
        Type::Array(array) => borrowed(&array.elem),
        Type::Slice(slice) => borrowed(&slice.elem),
        Type::Paren(inner) => borrowed(&inner.elem),
        Type::Group(inner) => borrowed(&inner.elem),
        _ => None,
    }
}

fn borrowed_arguments(arguments: &PathArguments) -> Option<Borrow> {
    let PathArguments::AngleBracketed(list) = arguments else { return None };
    list.args.iter().find_map(|argument| match argument {
        GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
            Some(Borrow::Lifetime(lifetime.to_token_stream()))
        }
        GenericArgument::Type(kind) => borrowed(kind),
        GenericArgument::AssocType(associated) => borrowed(&associated.ty),
        _ => None,
    })
}

/// What to write instead of a reference to this type.
fn owned_form(target: &Type, mutable: bool) -> String {
    if mutable {
        return format!("`{}` instead of a borrow, and return it when it has changed", owned_name(target));
    }
    match owned_name(target) {
        // Known owned forms need no second choice.
        owned if owned != pretty(target) => format!("`{owned}` instead of a borrow"),
        same => format!("`{same}` instead of a borrow (or `Arc<{same}>` to share it)"),
    }
}

fn owned_name(target: &Type) -> String {
    match target {
        Type::Slice(slice) => format!("Vec<{}>", owned_name(&slice.elem)),
        Type::Reference(reference) => owned_name(&reference.elem),
        Type::TraitObject(_) => format!("Box<{}>", pretty(target)),
        Type::Path(path) => match path.path.segments.last().map(|last| last.ident.to_string()).as_deref() {
            Some("str") => "String".into(),
            Some("Path") => "PathBuf".into(),
            Some("OsStr") => "OsString".into(),
            Some("CStr") => "CString".into(),
            _ => pretty(target),
        },
        _ => pretty(target),
    }
}

/// A type as a person writes it: token streams print with a space around everything.
fn pretty(kind: &impl ToTokens) -> String {
    let mut text = kind.to_token_stream().to_string();
    for (spaced, tight) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        ("[ ", "["),
        (" ]", "]"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" ;", ";"),
    ] {
        text = text.replace(spaced, tight);
    }
    text
}

/// The answer to an item that is no function with a body.
fn not_a_function(item: &TokenStream, parse_error: Error) -> TokenStream {
    let what = crate::what_is_it(item);
    let error = if what == "something else" {
        // A syntax error inside a function: the parser's own message is the precise one.
        parse_error
    } else {
        Error::new_spanned(item, format!("`#[ropewalk::task]` goes on a function with a body, and this is {what}"))
    };
    let error = error.into_compile_error();
    quote!(#item #error)
}

/// Several mistakes in one function are told at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            None => self.0 = Some(error),
            Some(first) => first.combine(error),
        }
    }

    fn finish(self) -> Result<(), Error> {
        match self.0 {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token streams and people put their spaces differently.
    fn tight(text: &str) -> String {
        text.split_whitespace().collect()
    }

    fn expanded(item: &str) -> String {
        tight(&expand(TokenStream::new(), item.parse().unwrap()).to_string())
    }

    #[track_caller]
    fn refused(item: &str, because: &str) {
        let text = expand(TokenStream::new(), item.parse().unwrap()).to_string();
        assert!(text.contains("compile_error"), "was accepted: {text}");
        assert!(text.contains(because), "{because:?} is missing in: {text}");
    }

    #[test]
    fn function_stays_and_the_struct_has_its_visibility() {
        let text = expanded(
            "#[inline] pub(crate) fn thumb(mut path: PathBuf, size: u32) -> io::Result<u64> { work(path, size) }",
        );
        for part in [
            "pub(crate) fn thumb(mut path: PathBuf, size: u32)",
            "pub(crate) struct thumb",
            "pub(crate) path: PathBuf,",
            "pub(crate) fn call(path: PathBuf, size: u32) -> ::ropewalk::Call<thumb, u64>",
            "into_outcome(thumb(self.path, self.size))",
        ] {
            assert!(text.contains(&tight(part)), "{part} is missing in: {text}");
        }
        assert!(!text.contains("derive"), "{text}");
    }

    #[test]
    fn output_is_the_ok_type_or_the_plain_type() {
        for (written, call) in [
            ("Result<u64, io::Error>", "Call<t, u64>"),
            ("std::io::Result<Vec<u8>>", "Call<t, Vec<u8>>"),
            ("LabResult<f64>", "Call<t, f64>"),
            ("SearchResult", "Call<t, SearchResult>"),
            ("Option<u8>", "Call<t, Option<u8>>"),
            ("(u8, &'static str)", "Call<t, (u8, &'static str)>"),
        ] {
            let text = expanded(&format!("fn t() -> {written} {{ x() }}"));
            assert!(text.contains(&tight(call)), "{call} is missing in: {text}");
        }
        assert!(expanded("fn t() {}").contains("Call<t,()>"));
    }

    #[test]
    fn cfg_and_doc_hidden_hold_for_the_struct_too() {
        let text = expanded("#[cfg(unix)] #[doc(hidden)] #[inline] fn t() {}");
        assert_eq!(text.matches("#[cfg(unix)]").count(), 5, "{text}");
        assert_eq!(text.matches("#[inline]").count(), 1, "{text}");
    }

    #[test]
    fn borrows_name_the_owned_type() {
        refused("fn t(a: &str) {}", "a task outlives its caller: take `String`");
        refused("fn t(a: &std::path::Path) {}", "take `PathBuf`");
        refused("fn t(a: &[u8]) {}", "take `Vec<u8>`");
        refused("fn t(a: &[&str]) {}", "take `Vec<String>`");
        refused("fn t(a: &Config) {}", "take `Config` instead of a borrow (or `Arc<Config>` to share it)");
        refused("fn t(a: &mut Vec<u8>) {}", "take `Vec<u8>` instead of a borrow, and return it");
        refused("fn t(a: Option<&str>) {}", "take `String`");
        refused("fn t(a: Cow<'_, str>) {}", "cannot borrow");
        refused("fn t<'a>(a: Cow<'a, str>) {}", "cannot borrow");
        refused(r#"fn t() -> &str { "" }"#, "its output cannot borrow");
    }

    #[test]
    fn static_borrows_and_function_types_are_fine() {
        let text = expanded("fn t(a: &'static str, f: fn(&str) -> u8, g: Box<dyn Fn(&str) + Send>) {}");
        assert!(!text.contains("compile_error"), "{text}");
    }

    #[test]
    fn what_is_no_single_plain_function_is_refused() {
        refused("async fn t() {}", "block_on");
        refused("unsafe fn t() {}", "safe function around it");
        refused("fn t(&self, a: u8) {}", "free function `fn t(..)`");
        refused("fn t<T: Send>(a: T) {}", "(found `T`)");
        refused("fn t<const N: usize>(a: u8) {}", "make `N` an argument");
        refused("fn t(a: impl Read) {}", "`impl Trait` makes this function generic");
        refused("fn t() -> impl Read { x }", "needs a type with a name");
        refused("fn t() -> ! { loop {} }", "must return");
        refused("fn t() -> fmt::Result { x }", "`fmt::Result` hides the types");
        refused("struct T { a: u8, }", "this is a struct");
        refused("fn t();", "a function without a body");
    }

    #[test]
    fn arguments_need_names() {
        refused("fn t((a, b): (u8, u8)) {}", "write `name: (u8, u8)`");
        refused("fn t(_: u8) {}", "write `_name: u8`");
        refused("fn t(ref a: u8) {}", "needs a plain name");
        refused("fn t(#[cfg(unix)] a: u8) {}", "cannot be conditional");
    }

    #[test]
    fn what_is_lent_is_no_argument() {
        let text = expanded("fn t(db: State<Db>, job: &ropewalk::JobContext, n: u8) -> u8 { n }");
        for part in [
            "fn call(n: u8) -> ::ropewalk::Call<t, u8>",
            "type Tuple = (u8,);",
            "t(job.state::<Db>()?, job, self.n)",
            "self.run_in(&::ropewalk::JobContext::outside())",
        ] {
            assert!(text.contains(&tight(part)), "{part} is missing in: {text}");
        }
        // Only at the beginning.
        refused("fn t(n: u8, job: &JobContext) {}", "a task outlives its caller");
        assert!(expanded("fn t(n: u8, s: State<Db>) {}").contains("s:State<Db>"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = expand("".parse().unwrap(), "fn t(a: &str, _: u8) {}".parse().unwrap()).to_string();
        assert_eq!(text.matches("compile_error").count(), 2, "{text}");
    }

    #[test]
    fn raw_names_are_printed_without_their_mark() {
        let text = expanded("fn r#match(r#type: u8) {}");
        assert!(text.contains("\"match\""), "{text}");
        assert!(text.contains("Theargument`type`."), "{text}");
    }
}
