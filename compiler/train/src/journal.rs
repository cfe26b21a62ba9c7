//! What a repair has come to so far, kept so that it can be interrupted and taken up again.
//!
//! The same repair is the same pieces of work in the same order: layers that are weighed, layers that are fitted, steps of fine-tuning. What each piece came
//! to is kept; a repair that is taken up again recalls it in the place of working it out, computes again only what
//! layers read, and goes on to the same bits as one that was never interrupted.

use crate::repair::{Progress, Stage};
use crate::{RepairError, checkpoint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who may interrupt a repair, and keeps what is needed to go on.
pub trait Keeper: Send + Sync {
    /// What is to be done now. It is asked between pieces of work: a layer, or a step of fine-tuning.
    fn due(&self) -> Due;

    /// Keeps a checkpoint in the place of the one before. The message says why it cannot be kept.
    fn keep(&self, checkpoint: Vec<u8>) -> Result<(), String>;

    /// Where it keeps them, in a message.
    fn name(&self) -> String;
}

/// What is to be done between two pieces of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Go on.
    Nothing,
    /// A checkpoint is to be kept.
    Checkpoint,
    /// A checkpoint is to be kept, and the repair to end there, with [`RepairError::Interrupted`].
    Stop,
}

/// See the module.
pub(crate) struct Journal<'a> {
    keeper: Option<&'a dyn Keeper>,
    progress: Option<&'a Progress>,
    /// What tells this repair from others, in words.
    identity: String,
    state: Mutex<State>,
}

struct State {
    /// What pieces came to, in their order, and how many of them were recalled.
    done: Vec<Vec<u8>>,
    recalled: usize,
    /// What the piece at work had come to, of a repair that is taken up again.
    open: Option<Vec<u8>>,
    place: (Stage, usize, usize),
}

impl<'a> Journal<'a> {
    /// Of the repair that `identity` says; one that is taken up again begins with a checkpoint of the same.
    pub fn new(
        keeper: Option<&'a dyn Keeper>,
        progress: Option<&'a Progress>,
        identity: String,
        from: Option<&[u8]>,
    ) -> Result<Journal<'a>, RepairError> {
        let (done, open) = match from {
            Some(bytes) => checkpoint::read(bytes, &identity).map_err(|message| refused(keeper, &message))?,
            None => (vec![], None),
        };
        let state = Mutex::new(State { done, recalled: 0, open, place: (Stage::Fitting, 0, 0) });
        Ok(Journal { keeper, progress, identity, state })
    }

    /// So many pieces of a stage are done, of all.
    pub fn reach(&self, stage: Stage, done: usize, all: usize) {
        self.state().place = (stage, done, all);
        self.progress.iter().for_each(|progress| progress(stage, done, all));
    }

    /// What the next piece came to, if it was done before and is `sound`.
    pub fn recall<T: DeserializeOwned>(
        &self,
        sound: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, RepairError> {
        let mut state = self.state();
        let Some(bytes) = state.done.get(state.recalled) else { return Ok(None) };
        let piece = checkpoint::decode(bytes).filter(sound).ok_or_else(|| self.foreign())?;
        state.recalled += 1;
        drop(state);
        self.pause(|| None::<()>)?;
        Ok(Some(piece))
    }

    /// What the piece that begins now had come to, if it was begun before.
    pub fn recall_open<T: DeserializeOwned>(&self) -> Result<Option<T>, RepairError> {
        let state = self.state();
        state.open.as_ref().map(|bytes| checkpoint::decode(bytes).ok_or_else(|| self.foreign())).transpose()
    }

    /// Keeps what a piece came to, that was not recalled.
    pub fn add(&self, piece: &impl Serialize) -> Result<(), RepairError> {
        if self.keeper.is_some() {
            let mut state = self.state();
            state.done.push(checkpoint::encode(piece));
            state.recalled += 1;
        }
        self.pause(|| None::<()>)
    }

    /// Between two pieces, or parts of one: writes a checkpoint if it is time, with what the piece at work has come to, and stops if that is asked for.
    pub fn pause<T: Serialize>(&self, open: impl FnOnce() -> Option<T>) -> Result<(), RepairError> {
        let Some(keeper) = self.keeper else { return Ok(()) };
        let due = keeper.due();
        if due == Due::Nothing {
            return Ok(());
        }
        let state = self.state();
        // What was begun stays so until it is reached again.
        let open = open().map(|open| checkpoint::encode(&open)).or_else(|| state.open.clone());
        let checkpoint = checkpoint::write(&self.identity, &(&state.done, open));
        keeper.keep(checkpoint).map_err(|message| refused(self.keeper, &message))?;
        match due {
            Due::Stop => {
                let (stage, done, all) = state.place;
                Err(RepairError::Interrupted { stage, done, all })
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint is whole, and of this repair, and what it holds is not.
    pub fn foreign(&self) -> RepairError {
        refused(self.keeper, "the checkpoint does not hold this network's layers; begin anew without it")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(keeper: Option<&dyn Keeper>, message: &str) -> RepairError {
    let name = keeper.map(|keeper| keeper.name()).filter(|name| !name.is_empty() && !message.contains(name));
    RepairError::Checkpoint(name.map_or_else(|| message.to_owned(), |name| format!("{name}: {message}")))
}
