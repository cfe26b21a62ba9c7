//! Work on all processors. Who does a piece changes nothing of its result, and results are in the order of the pieces.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads work.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `work` on each piece.
pub(crate) fn map<P: Send, R: Send>(pieces: Vec<P>, work: impl Fn(usize, P) -> R + Sync) -> Vec<R> {
    let threads = threads().min(pieces.len());
    if threads <= 1 {
        return pieces.into_iter().enumerate().map(|(i, piece)| work(i, piece)).collect();
    }
    let slots: Vec<Mutex<(Option<P>, Option<R>)>> =
        pieces.into_iter().map(|piece| Mutex::new((Some(piece), None))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = slots.get(i) else { break };
                    let piece = slot.lock().map(|mut slot| slot.0.take()).unwrap_or_default();
                    if let Some(piece) = piece {
                        let result = work(i, piece);
                        if let Ok(mut slot) = slot.lock() {
                            slot.1 = Some(result);
                        }
                    }
                }
            });
        }
    });
    // A thread that panicked has ended the scope with its panic; so every result is there.
    slots.into_iter().filter_map(|slot| slot.into_inner().ok()?.1).collect()
}
