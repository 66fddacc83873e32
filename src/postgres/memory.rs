//! Memory of the server's for what outlives a call, such as the state of an aggregate. It counts towards
//! work_mem, and the server frees it whole.

#![expect(unsafe_code, reason = "this module is the boundary to the server")]

use pgrx::pg_sys;
use std::ops::{Deref, DerefMut};

/// A memory context.
#[derive(Debug, Clone, Copy)]
pub struct Memory(pg_sys::MemoryContext);

impl Memory {
    /// # Safety
    /// Nothing that is put into it is used after the context is gone.
    pub unsafe fn of(context: pg_sys::MemoryContext) -> Self {
        Self(context)
    }

    /// The context that is current now.
    ///
    /// # Safety
    /// As for [`Self::of`].
    pub unsafe fn current() -> Self {
        // SAFETY: the server always has one.
        Self(unsafe { pg_sys::CurrentMemoryContext })
    }

    /// Room for so many items.
    fn room<T>(self, items: usize) -> *mut T {
        const { assert!(align_of::<T>() <= 8, "the server aligns to eight bytes") };
        // SAFETY: the context lives. A size that overflows is one that the server refuses.
        unsafe { pg_sys::MemoryContextAllocHuge(self.0, items.saturating_mul(size_of::<T>())) }
            .cast()
    }

    pub fn keep<T: Copy>(self, item: T) -> *mut T {
        // Wide integers want more than the eight bytes that the server aligns to.
        let room: *mut u8 = self.room(size_of::<T>() + align_of::<T>());
        // SAFETY: there is room for the item behind what aligns it.
        unsafe {
            let place: *mut T = room.add(room.align_offset(align_of::<T>())).cast();
            place.write(item);
            place
        }
    }

    /// A copy of a whole value of variable length.
    ///
    /// # Safety
    /// The datum is such a value, in one piece.
    pub unsafe fn keep_varlena(self, datum: pg_sys::Datum) -> pg_sys::Datum {
        let varlena: *const u8 = datum.cast_mut_ptr();
        // SAFETY: the caller vouches for the value, which is as long as it says.
        unsafe {
            let size = pgrx::varlena::varsize_any(varlena.cast());
            let copy = self.room(size);
            std::ptr::copy_nonoverlapping(varlena, copy, size);
            pg_sys::Datum::from(copy)
        }
    }
}

/// An array that grows. It is only a handle: whoever copies it must not let both of them grow.
#[derive(Debug, Clone, Copy)]
pub struct Array<T> {
    items: *mut T,
    len: usize,
    room: usize,
}

impl<T: Copy> Array<T> {
    pub const EMPTY: Self = Self {
        items: std::ptr::NonNull::dangling().as_ptr(),
        len: 0,
        room: 0,
    };

    /// Makes room for so many more.
    pub fn reserve(&mut self, memory: Memory, more: usize) {
        let wanted = self.len.saturating_add(more);
        if wanted <= self.room {
            return;
        }
        let room = if self.room == 0 {
            wanted
        } else {
            wanted.max(self.room * 2)
        };
        // SAFETY: what has room was allocated here; the server refuses sizes that are too large.
        self.items = unsafe {
            if self.room == 0 {
                memory.room(room)
            } else {
                pg_sys::repalloc_huge(self.items.cast(), room.saturating_mul(size_of::<T>())).cast()
            }
        };
        self.room = room;
    }

    pub fn push(&mut self, memory: Memory, item: T) {
        self.reserve(memory, 1);
        // SAFETY: there is room for one more.
        unsafe { self.items.add(self.len).write(item) };
        self.len += 1;
    }

    pub fn extend(&mut self, memory: Memory, items: &[T]) {
        self.reserve(memory, items.len());
        // SAFETY: there is room for them, which is no part of what they are in.
        unsafe {
            std::ptr::copy_nonoverlapping(items.as_ptr(), self.items.add(self.len), items.len());
        }
        self.len += items.len();
    }

    /// Forgets all items; the room stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many were written, and the memory lives as long as this.
        unsafe { std::slice::from_raw_parts(self.items, self.len) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and this handle is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.items, self.len) }
    }
}
