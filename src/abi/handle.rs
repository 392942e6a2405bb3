//! Who owns what an opaque C pointer stands for.
//!
//! Each opaque C type says by one trait impl whether its pointers are boxes or counted references,
//! so that giving one back in the wrong way does not compile. Only the host's calls decide when a
//! handle ends; the functions here turn pointers into Rust values and do nothing else.

use std::sync::Arc;

/// A C type whose pointers own a boxed object, one owner at a time.
pub trait Boxed {
    /// What a pointer stands for.
    type Object;
}

/// Gives the object to the host.
pub fn give<C: Boxed>(object: Box<C::Object>) -> *mut C {
    Box::into_raw(object).cast()
}

/// Takes the object back from the host; `None` for NULL.
///
/// # Safety
/// - `handle` is NULL or came from [`give`] for the same `C` and was not taken back.
pub unsafe fn take<C: Boxed>(handle: *mut C) -> Option<Box<C::Object>> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: `give` made this pointer from a box of this type, and it is taken back once.
    Some(unsafe { Box::from_raw(handle.cast()) })
}

/// The object of a handle; `None` for NULL.
///
/// Shared access only: a host callback that runs inside an API call may call the API again.
///
/// # Safety
/// - `handle` is NULL or came from [`give`] for the same `C`, and is not taken back during `'a`.
pub unsafe fn lend<'a, C: Boxed>(handle: *mut C) -> Option<&'a C::Object> {
    // SAFETY: NULL gives `None`; otherwise the box behind the pointer lives for `'a`.
    unsafe { handle.cast::<C::Object>().as_ref() }
}

/// A C type whose pointers each hold one count of a shared object.
pub trait Counted {
    /// What a pointer stands for; other threads hold it, too.
    type Object: Send + Sync;
}

/// Gives one count of the object to the host.
pub fn give_count<C: Counted>(object: Arc<C::Object>) -> *mut C {
    Arc::into_raw(object).cast_mut().cast()
}

/// Takes the host's count back; `None` for NULL.
///
/// # Safety
/// - `handle` is NULL or came from [`give_count`] for the same `C` and was not taken back.
pub unsafe fn take_count<C: Counted>(handle: *mut C) -> Option<Arc<C::Object>> {
    if handle.is_null() {
        return None;
    }
    // SAFETY: `give_count` made this pointer from an `Arc` of this type; its count is taken once.
    Some(unsafe { Arc::from_raw(handle.cast()) })
}

/// A count of our own of a handle's object; `None` for NULL.
///
/// With it the object outlives the handle: use it where the call may run a callback that ends the
/// handle.
///
/// # Safety
/// - `handle` is NULL or came from [`give_count`] for the same `C` and was not taken back.
pub unsafe fn counted<C: Counted>(handle: *mut C) -> Option<Arc<C::Object>> {
    if handle.is_null() {
        return None;
    }
    let object: *const C::Object = handle.cast();
    // SAFETY: the pointer holds a count, so the object lives; the new count is ours.
    unsafe { Arc::increment_strong_count(object) };
    // SAFETY: the count added above belongs to this `Arc`.
    Some(unsafe { Arc::from_raw(object) })
}

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct One;
    impl Boxed for One {
        type Object = String;
    }

    struct Many;
    impl Counted for Many {
        type Object = AtomicU32;
    }

    #[test]
    fn a_box_comes_back_as_it_went() {
        let handle = give::<One>(Box::new("server".to_owned()));
        // SAFETY: the handle is live.
        assert_eq!(unsafe { lend(handle) }.map(String::as_str), Some("server"));
        // SAFETY: the handle is taken back once.
        assert_eq!(unsafe { take(handle) }.as_deref().map(String::as_str), Some("server"));
    }

    #[test]
    fn a_count_of_our_own_outlives_the_handle() {
        let handle = give_count::<Many>(Arc::new(AtomicU32::new(7)));
        // SAFETY: the handle is live.
        let ours = unsafe { counted(handle) }.expect("not NULL");
        // SAFETY: the handle is taken back once.
        drop(unsafe { take_count(handle) });
        // Relaxed: one thread.
        assert_eq!(ours.load(Ordering::Relaxed), 7);
        assert_eq!(Arc::strong_count(&ours), 1);
    }

    #[test]
    fn null_stands_for_nothing() {
        // SAFETY: NULL is allowed.
        assert!(unsafe { take::<One>(ptr::null_mut()) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { lend::<One>(ptr::null_mut()) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { take_count::<Many>(ptr::null_mut()) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { counted::<Many>(ptr::null_mut()) }.is_none());
    }
}
