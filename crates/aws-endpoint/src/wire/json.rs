//! JSON as it is sent.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;

thread_local! {
    /// Where texts grow before it is known how long they are.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How much of it each thread keeps.
const KEPT: usize = 16 * 1024;

/// The text of what always has one: its keys are texts.
pub(crate) fn written(value: &impl Serialize) -> Bytes {
    let mut room = ROOM.take();
    room.clear();
    let text = match serde_json::to_writer(&mut room, value) {
        Ok(()) => Bytes::copy_from_slice(&room),
        Err(_) => Bytes::new(),
    };
    if room.capacity() <= KEPT {
        ROOM.set(room);
    }
    text
}
