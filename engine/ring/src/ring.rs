//! The ring: typed operations in, completions out.

use crate::buffers::{Buffers, GROUP, RecvBuffer};
use crate::memory::{Memories, Memory};
use crate::token::{Class, Token, pack, unpack};
use bytes::Bytes;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

/// Most completions that one call of `enter` asks for.
const WANT_MAX: u32 = 4096;

/// What a ring is made of.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Submission entries, a power of two; a full queue is submitted early.
    pub entries: u32,
    /// Completion entries; the largest burst between two calls of `enter` should fit.
    pub completions: u32,
    /// Places for direct descriptors; at most RLIMIT_NOFILE.
    pub files: u32,
    /// Buffers for receives: how many (a power of two up to 32768), and the bytes of each.
    pub buffers: Option<(u16, u32)>,
    /// How completions come.
    pub mode: RingMode,
}

/// How completions come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingMode {
    /// Only inside `enter`, in batches: for sockets.
    Deferred,
    /// Whenever the thread returns from the kernel: for a ring that is looked at beside another.
    Cooperative,
}

/// A place in the ring's table of direct descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIndex(u32);

/// What an operation is about. A plain descriptor must stay open until the operation is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A plain descriptor.
    Fd(RawFd),
    /// A direct one.
    Direct(FileIndex),
}

impl<F: AsFd> From<&F> for Target {
    fn from(fd: &F) -> Target {
        Target::Fd(fd.as_fd().as_raw_fd())
    }
}

/// How `enter` waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Submits and takes what is ready.
    No,
    /// The same, but no more than some 20 of what is ready: for a thread that must be on time.
    Few,
    /// Sleeps until a completion is there, at most this long.
    Until(Option<Duration>),
}

/// A completion.
#[derive(Debug)]
pub struct Completion {
    /// As submitted.
    pub token: Token,
    /// What the system call would have returned.
    pub result: io::Result<u32>,
    /// More completions of this operation will follow.
    pub more: bool,
    /// After a receive: the socket has more bytes already.
    pub nonempty: bool,
    /// What comes with it.
    pub given: Given,
}

/// What a completion hands to the caller.
#[derive(Debug)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// The accepted connection.
    Accepted(OwnedFd),
    /// Received bytes.
    Received(RecvBuffer),
    /// The memory of a send or a read.
    Buffer(Vec<u8>),
    /// The memory of a write.
    Bytes(Bytes),
}

/// An io_uring. Used by one thread alone, the one that made it.
pub struct Ring {
    uring: NonNull<IoUring>,
    /// Kept, because only this value remembers that the ring's descriptor is registered. It
    /// borrows `*uring`, which `Drop` frees after it.
    submitter: Submitter<'static>,
    memories: Memories,
    buffers: Option<Buffers>,
    free_files: Vec<u32>,
    /// Completions that were moved out of the kernel's queue to let it go on.
    set_aside: VecDeque<cqueue::Entry>,
    in_flight: u64,
    want: u32,
    /// The kernel's flag of deferred work says nothing: see `enter`.
    flag_is_stale: bool,
    enter_flags: EnterFlags,
    enters: u64,
    overflows: u64,
}

impl Ring {
    /// A ring for the calling thread.
    pub fn new(config: &RingConfig) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_taskrun_flag().setup_no_sqarray().setup_submit_all();
        builder.setup_cqsize(config.completions).dontfork();
        match config.mode {
            RingMode::Deferred => builder.setup_defer_taskrun(),
            RingMode::Cooperative => builder.setup_coop_taskrun(),
        };
        let uring = Box::new(builder.build(config.entries)?);
        let mut enter_flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        if uring.params().is_feature_no_iowait() {
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let uring = NonNull::from(Box::leak(uring));
        // SAFETY: `uring` was just leaked and is freed by `Ring::drop` alone, after the last use
        // of the submitter. From here on it is only borrowed shared.
        let mut submitter = unsafe { uring.as_ref() }.submitter();
        let buffers = Self::register(&mut submitter, config).inspect_err(|_| {
            // SAFETY: nothing was submitted, and the submitter is not used any more.
            drop(unsafe { Box::from_raw(uring.as_ptr()) });
        })?;
        Ok(Ring {
            uring,
            submitter,
            memories: Memories::default(),
            buffers,
            free_files: (0..config.files).rev().collect(),
            set_aside: VecDeque::new(),
            in_flight: 0,
            want: 1,
            flag_is_stale: false,
            enter_flags,
            enters: 0,
            overflows: 0,
        })
    }

    fn register(submitter: &mut Submitter, config: &RingConfig) -> io::Result<Option<Buffers>> {
        submitter.register_ring_fd()?;
        if config.files > 0 {
            submitter.register_files_sparse(config.files)?;
        }
        config.buffers.map(|(count, bytes)| Buffers::new(submitter, count, bytes)).transpose()
    }

    /// Makes a plain descriptor a direct one and closes the plain one. On an error the descriptor
    /// is closed, too; `ENFILE` when the table is full.
    pub fn install(&mut self, fd: OwnedFd) -> io::Result<FileIndex> {
        let Some(index) = self.free_files.pop() else {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        };
        let installed = self.submitter.register_files_update(index, &[fd.as_raw_fd()]);
        if let Err(error) = installed {
            self.free_files.push(index);
            return Err(error);
        }
        Ok(FileIndex(index))
    }

    /// Closes a direct descriptor. Nothing of it may be in flight.
    pub fn close_direct(&mut self, file: FileIndex) {
        self.submitter
            .register_files_update(file.0, &[-1])
            .expect("taking a file out of the table cannot fail");
        self.free_files.push(file.0);
    }

    /// Accepts connections until a completion says that no more follow.
    pub fn accept(&mut self, token: Token, listener: &impl AsFd) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_fd().as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, pack(Class::Accept, token));
    }

    /// Waits until the socket has something to read, or its peer is gone; once.
    pub fn poll(&mut self, token: Token, target: Target) {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let entry = match target {
            Target::Fd(fd) => opcode::PollAdd::new(Fd(fd), events).build(),
            Target::Direct(file) => opcode::PollAdd::new(Fixed(file.0), events).build(),
        };
        self.push(entry, pack(Class::Plain, token));
    }

    /// Receives once, into a buffer of the pool; `ENOBUFS` when none is there.
    pub fn recv(&mut self, token: Token, target: Target) {
        let build = |recv: opcode::Recv| recv.buf_group(GROUP).build().flags(Flags::BUFFER_SELECT);
        let entry = match target {
            Target::Fd(fd) => build(opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0)),
            Target::Direct(file) => {
                build(opcode::Recv::new(Fixed(file.0), std::ptr::null_mut(), 0))
            }
        };
        self.push(entry, pack(Class::Plain, token));
    }

    /// Receives again and again, into buffers of the pool, until a completion says that no more
    /// follow: at the end of the stream, on an error, and with `ENOBUFS`.
    pub fn recv_multi(&mut self, token: Token, target: Target) {
        let entry = match target {
            Target::Fd(fd) => opcode::RecvMulti::new(Fd(fd), GROUP).build(),
            Target::Direct(file) => opcode::RecvMulti::new(Fixed(file.0), GROUP).build(),
        };
        self.push(entry, pack(Class::Plain, token));
    }

    /// Stops a multishot receive: its last completion says `ECANCELED`, or how it ended before.
    /// This operation has a completion of its own, whose result says nothing of use.
    pub fn stop_recv(&mut self, token: Token, receive: Token) {
        self.push(
            opcode::AsyncCancel::new(pack(Class::Plain, receive)).build(),
            pack(Class::Plain, token),
        );
    }

    /// Sends the buffer from `offset` on; the kernel goes on after short sends. One send per
    /// socket may be in flight, because a second one could overtake it.
    pub fn send(&mut self, token: Token, target: Target, buffer: Vec<u8>, offset: usize) {
        let rest = &buffer[offset..];
        let (start, bytes) = (rest.as_ptr(), rest.len() as u32);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match target {
            Target::Fd(fd) => opcode::Send::new(Fd(fd), start, bytes).flags(flags).build(),
            Target::Direct(file) => {
                opcode::Send::new(Fixed(file.0), start, bytes).flags(flags).build()
            }
        };
        self.push_owning(entry, token, Memory::Buffer(buffer));
    }

    /// Ends a connection: both directions, or only ours. Operations of the socket complete.
    pub fn shutdown(&mut self, token: Token, target: Target, both: bool) {
        let how = if both { libc::SHUT_RDWR } else { libc::SHUT_WR };
        let entry = match target {
            Target::Fd(fd) => opcode::Shutdown::new(Fd(fd), how).build(),
            Target::Direct(file) => opcode::Shutdown::new(Fixed(file.0), how).build(),
        };
        self.push(entry, pack(Class::Plain, token));
    }

    /// Reads into the buffer's whole length, at the file's position.
    pub fn read(&mut self, token: Token, fd: &impl AsFd, mut buffer: Vec<u8>) {
        let (start, bytes) = (buffer.as_mut_ptr(), buffer.len() as u32);
        let entry = opcode::Read::new(Fd(fd.as_fd().as_raw_fd()), start, bytes).build();
        self.push_owning(entry, token, Memory::Buffer(buffer));
    }

    /// Writes at an offset.
    pub fn write_at(&mut self, token: Token, fd: &impl AsFd, offset: u64, bytes: Bytes) {
        let fd = Fd(fd.as_fd().as_raw_fd());
        let entry =
            opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32).offset(offset).build();
        self.push_owning(entry, token, Memory::Bytes(bytes));
    }

    /// What was received.
    pub fn bytes<'b>(&'b self, buffer: &'b RecvBuffer) -> &'b [u8] {
        self.pool().bytes(buffer)
    }

    /// Hands a buffer to the kernel again.
    pub fn give_back(&mut self, buffer: RecvBuffer) {
        self.buffers.as_mut().expect("a buffer came from a pool").give_back(buffer);
    }

    /// Number of buffers that receives can take.
    pub fn buffers_available(&self) -> u16 {
        self.pool().available()
    }

    fn pool(&self) -> &Buffers {
        self.buffers.as_ref().expect("the ring was made with buffers")
    }

    fn push_owning(&mut self, entry: Entry, token: Token, memory: Memory) {
        let index = self.memories.keep(token, memory);
        self.push(entry, pack(Class::Memory, Token::new(0, index, 0)));
    }

    fn push(&mut self, entry: Entry, user_data: u64) {
        let entry = entry.user_data(user_data);
        self.in_flight += 1;
        // SAFETY: the memory that the entry points to is in `memories` until its completion, or in
        // the pool of buffers; both are leaked if the ring is dropped before. The queue is used by
        // this thread alone (`Ring` is not `Send`), one borrow at a time.
        while unsafe { self.uring.as_ref().submission_shared().push(&entry) }.is_err() {
            self.call(0, Some(Duration::ZERO));
        }
    }

    /// Submits what was pushed, then takes or awaits completions.
    ///
    /// The kernel runs at most 20 deferred completions per call unless more are awaited, and an
    /// unmet number costs a timer. So the number follows the last batch: doubled while work is
    /// left, half of what came otherwise.
    ///
    /// The kernel takes its flag down, then does the work, and with it what comes meanwhile and
    /// raises the flag again. So the flag may stay up over nothing, and a thread that took it for
    /// work would not sleep. A call that brought nothing makes it stale. Work that comes then does
    /// not show, but the kernel looks for it before it lets a thread sleep.
    pub fn enter(&mut self, wait: Wait) {
        match wait {
            Wait::Until(timeout) => self.call(1, timeout),
            Wait::Few => self.call(1, Some(Duration::ZERO)),
            Wait::No if self.work_is_deferred() => {
                self.call(self.want, Some(Duration::ZERO));
                let (more, came) = (self.flag(), self.ready() as u32);
                self.flag_is_stale = more && came == 0;
                let batch = if more && came > 0 { self.want * 2 } else { came / 2 };
                self.want = batch.clamp(1, WANT_MAX);
            }
            Wait::No if self.flag() || self.unsubmitted() > 0 || self.is_overflown() => {
                self.call(0, Some(Duration::ZERO));
            }
            Wait::No => {}
        }
    }

    /// Whether `enter(Wait::No)` would bring completions.
    pub fn work_is_deferred(&self) -> bool {
        self.flag() && !self.flag_is_stale
    }

    fn flag(&self) -> bool {
        // SAFETY: used by this thread alone, one borrow at a time.
        unsafe { self.uring.as_ref().submission_shared().taskrun() }
    }

    fn is_overflown(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.uring.as_ref().submission_shared().cq_overflow() }
    }

    fn unsubmitted(&self) -> usize {
        // SAFETY: as above.
        unsafe { self.uring.as_ref().submission_shared().len() }
    }

    /// Number of completions that `reap` has at hand.
    pub fn ready(&self) -> usize {
        // SAFETY: as above.
        self.set_aside.len() + unsafe { self.uring.as_ref().completion_shared().len() }
    }

    fn call(&mut self, want: u32, timeout: Option<Duration>) {
        if self.is_overflown() {
            // The kernel keeps what does not fit, and moves it up once there is room.
            self.overflows += 1;
            self.set_all_aside();
        }
        let timespec = timeout.map(Timespec::from);
        let args = match &timespec {
            Some(timespec) => SubmitArgs::new().timespec(timespec),
            None => SubmitArgs::new(),
        };
        let submit = self.unsubmitted() as u32;
        self.enters += 1;
        // SAFETY: the flags say that the argument is of this type, and it lives through the call.
        let entered =
            unsafe { self.submitter.enter(submit, want, self.enter_flags.bits(), Some(&args)) };
        match entered.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR)) => {}
            // Back-pressure: the kernel takes no more before completions are consumed.
            Err(Some(libc::EBUSY | libc::EAGAIN)) => self.set_all_aside(),
            Err(error) => panic!("io_uring_enter failed with error {error:?}"),
        }
    }

    fn set_all_aside(&mut self) {
        // SAFETY: as above.
        self.set_aside.extend(unsafe { self.uring.as_ref().completion_shared() });
    }

    /// The next completion that is at hand.
    pub fn reap(&mut self) -> Option<Completion> {
        let entry = self.set_aside.pop_front().or_else(|| {
            // SAFETY: as above.
            unsafe { self.uring.as_ref().completion_shared().next() }
        })?;
        self.flag_is_stale = false;
        let (class, mut token) = unpack(entry.user_data());
        let more = cqueue::more(entry.flags());
        self.in_flight -= u64::from(!more);
        let given = match class {
            Class::Memory => {
                let (owner, memory) = self.memories.take(token.index);
                token = owner;
                match memory {
                    Memory::Buffer(buffer) => Given::Buffer(buffer),
                    Memory::Bytes(bytes) => Given::Bytes(bytes),
                }
            }
            Class::Accept if entry.result() >= 0 => {
                // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
                Given::Accepted(unsafe { OwnedFd::from_raw_fd(entry.result()) })
            }
            Class::Accept => Given::Nothing,
            // A failed receive has no buffer, even where a kernel names one.
            Class::Plain => match (cqueue::buffer_select(entry.flags()), &mut self.buffers) {
                (Some(id), Some(pool)) if entry.result() > 0 => {
                    Given::Received(pool.received(id, entry.result() as u32))
                }
                _ => Given::Nothing,
            },
        };
        let result = match entry.result() {
            result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
            result => Ok(result as u32),
        };
        let nonempty = cqueue::sock_nonempty(entry.flags());
        Some(Completion { token, result, more, nonempty, given })
    }

    /// Number of `io_uring_enter` calls so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// How often the queue of completions was too small.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, freed only here; the submitter is not used any more.
        drop(unsafe { Box::from_raw(self.uring.as_ptr()) });
        if self.in_flight > 0 {
            // The kernel cancels what is left on its own time and may still touch its memory.
            std::mem::forget(std::mem::take(&mut self.memories));
            std::mem::forget(self.buffers.take());
        }
    }
}
