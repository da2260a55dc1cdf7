//! Values that belong to one greenlet.

use ropewalk_core::strand;
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

/// A value of which each greenlet has its own; declared with [`greenlet_local!`](crate::greenlet_local).
///
/// On a plain thread it belongs to the thread. It is made when it is first asked for, and dropped when the greenlet ends.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
///
/// ropewalk::greenlet_local! {
///     static REQUEST: Cell<u32> = Cell::new(0);
/// }
///
/// ropewalk::run(|| {
///     REQUEST.with(|request| request.set(7));
///     let other = ropewalk::greenlet::spawn(|| REQUEST.with(Cell::get)).join().unwrap();
///     assert_eq!((REQUEST.with(Cell::get), other), (7, 0));
/// });
/// ```
#[doc(alias = "local")]
pub struct LocalKey<T: 'static> {
    make: fn() -> T,
    thread: &'static std::thread::LocalKey<T>,
}

/// The values of one greenlet, by the address of their key.
type Values = HashMap<usize, Rc<dyn Any>>;

impl<T: 'static> LocalKey<T> {
    /// What the macro makes.
    #[doc(hidden)]
    pub const fn new(make: fn() -> T, thread: &'static std::thread::LocalKey<T>) -> Self {
        Self { make, thread }
    }

    /// Shows the caller's value. `look` may wait: the value stays where it is.
    ///
    /// # Panics
    ///
    /// On a plain thread that is at its end, as [`std::thread::LocalKey::with`].
    pub fn with<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        let key = std::ptr::from_ref(self).addr();
        let found = strand::with_locals(|locals| values(locals).and_then(|values| values.get(&key).cloned()));
        let value = match found {
            None => return self.thread.with(look),
            Some(Some(value)) => value,
            Some(None) => {
                // Made outside the table: making it may ask for other values.
                let made: Rc<dyn Any> = Rc::new((self.make)());
                strand::with_locals(|locals| {
                    let place = locals.get_or_insert_with(|| Box::new(Values::new()));
                    let values = place.downcast_mut::<Values>().expect("this file alone puts something there");
                    Rc::clone(values.entry(key).or_insert(made))
                })
                .expect("we are in a greenlet")
            }
        };
        look(value.downcast_ref::<T>().expect("a key has one type"))
    }
}

fn values(locals: &mut Option<Box<dyn Any>>) -> Option<&mut Values> {
    locals.as_mut()?.downcast_mut()
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("greenlet::LocalKey").finish_non_exhaustive()
    }
}

/// Declares values of which each greenlet has its own; see [`greenlet::LocalKey`](crate::greenlet::LocalKey).
#[macro_export]
macro_rules! greenlet_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $init:expr; $($rest:tt)*) => {
        $(#[$attribute])*
        $visibility static $name: $crate::greenlet::LocalKey<$type> = {
            ::std::thread_local! { static THREAD: $type = $init; }
            $crate::greenlet::LocalKey::new(|| $init, &THREAD)
        };
        $crate::greenlet_local! { $($rest)* }
    };
}
