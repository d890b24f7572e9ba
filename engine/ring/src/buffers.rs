//! Provided buffers: a pool from which the kernel takes one per receive, so that memory follows
//! the data that is there, not the number of connections.

use io_uring::{Submitter, types::BufRingEntry};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// The one buffer group of a ring.
pub(crate) const GROUP: u16 = 0;
const PAGE_BYTES: usize = 4096;

/// A buffer with received bytes. It belongs to the holder until `Ring::give_back`; dropped instead,
/// it is lost to its ring.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost to its ring"]
pub struct RecvBuffer {
    pool: u32,
    id: u16,
    bytes: u32,
}

/// The pool: a ring of entries that the kernel reads, and the memory that they point to.
pub(crate) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
    /// Number of buffers that are with the kernel.
    available: u16,
    /// Tells pools apart, so that a buffer cannot be used with another ring's.
    pool: u32,
}

impl Buffers {
    /// A pool of `count` buffers, a power of two up to 32768, registered with the ring.
    pub(crate) fn new(submitter: &Submitter, count: u16, buffer_bytes: u32) -> io::Result<Buffers> {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        assert!(count.is_power_of_two() && count <= 1 << 15, "the kernel's rule for buffer rings");
        assert!(buffer_bytes > 0);
        let mut buffers = Buffers {
            entries: allocate(Self::entries_layout(count)).cast(),
            memory: allocate(Self::memory_layout(count, buffer_bytes)),
            count,
            buffer_bytes,
            tail: 0,
            available: 0,
            pool: POOLS.fetch_add(1, Ordering::Relaxed),
        };
        // SAFETY: the entries are `count` zeroed, page-aligned entries owned by this pool. `Ring`
        // drops the pool after the kernel's ring, and leaks it if receives are in flight then.
        unsafe {
            let address = buffers.entries.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(address, count, GROUP, 0)?;
        }
        (0..count).for_each(|id| buffers.provide(id));
        Ok(buffers)
    }

    /// The kernel put `bytes` bytes into buffer `id`: from here on it is the caller's.
    pub(crate) fn received(&mut self, id: u16, bytes: u32) -> RecvBuffer {
        assert!(id < self.count && bytes <= self.buffer_bytes, "the kernel names its own buffers");
        self.available -= 1;
        RecvBuffer { pool: self.pool, id, bytes }
    }

    /// What was received.
    pub(crate) fn bytes<'b>(&'b self, buffer: &'b RecvBuffer) -> &'b [u8] {
        assert!(buffer.pool == self.pool, "the buffer is of another ring");
        // SAFETY: `buffer` is the only handle of this buffer, made when the kernel gave it up, and
        // consumed by `give_back`, which cannot run while it is borrowed here. So nobody writes
        // these bytes; the memory was zeroed at first, so they are initialised.
        unsafe {
            let start = self.memory.add(buffer.id as usize * self.buffer_bytes as usize);
            std::slice::from_raw_parts(start.as_ptr(), buffer.bytes as usize)
        }
    }

    /// Hands the buffer to the kernel again.
    pub(crate) fn give_back(&mut self, buffer: RecvBuffer) {
        assert!(buffer.pool == self.pool, "the buffer is of another ring");
        self.provide(buffer.id);
    }

    pub(crate) fn available(&self) -> u16 {
        self.available
    }

    fn provide(&mut self, id: u16) {
        let slot = (self.tail & (self.count - 1)) as usize;
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
        // SAFETY: `slot` and `id` are below `count`. At most `count` buffers exist, so the kernel
        // has consumed this entry, and does not read it again before the tail below says so. The
        // first entry's spare field is the tail, which the setters leave alone; the kernel only
        // reads it, so an atomic store through the pointer is all that ever writes it.
        unsafe {
            let start = self.memory.add(id as usize * self.buffer_bytes as usize);
            let entry = &mut *self.entries.add(slot).as_ptr();
            entry.set_addr(start.as_ptr() as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn entries_layout(count: u16) -> Layout {
        Layout::from_size_align(count as usize * size_of::<BufRingEntry>(), PAGE_BYTES)
            .expect("at most 512 KiB")
    }

    fn memory_layout(count: u16, buffer_bytes: u32) -> Layout {
        Layout::from_size_align(count as usize * buffer_bytes as usize, PAGE_BYTES)
            .expect("fits an address space")
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated with these layouts; the kernel's ring is closed and no
        // receive was in flight (`Ring::drop` leaks the pool otherwise).
        unsafe {
            dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.count));
            dealloc(self.memory.as_ptr(), Self::memory_layout(self.count, self.buffer_bytes));
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
