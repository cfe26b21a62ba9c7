//! Backends: by which path steps are executed, and which of them this machine has.

use crate::error::Error;
use std::sync::OnceLock;
use twnc_jit::{Isa, Jit, JitError};

/// By which path steps are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The interpreter of programs: plain Rust, slow, everywhere.
    Interpreter,
    /// Generated code of a kind; the interpreter for the steps that there is none for.
    Generated(Isa),
}

impl Backend {
    /// Those that this machine has, the fastest first.
    pub fn available() -> impl Iterator<Item = Backend> {
        let generated = Isa::ALL.into_iter().filter(|&isa| generator(isa).is_ok());
        generated.map(Backend::Generated).chain([Backend::Interpreter])
    }

    /// The word for it, as `TWNC_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Interpreter => "interpreter",
            Backend::Generated(isa) => isa.name(),
        }
    }
}

impl From<Isa> for Backend {
    fn from(isa: Isa) -> Backend {
        Backend::Generated(isa)
    }
}

/// What a session runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) backend: Backend,
    /// Why it is the interpreter although nobody asked for it.
    pub(crate) fallback: Option<&'static JitError>,
}

/// The backend that the caller asks for, else the one that the environment's `TWNC_ISA` names, else the fastest that there is.
///
/// # Errors
/// [`Error::Backend`] if one that is asked for is not available, [`Error::UnknownBackend`] if `TWNC_ISA` is no backend's name.
pub(crate) fn choose(asked: Option<Backend>) -> Result<Choice, Error> {
    let word = std::env::var_os("TWNC_ISA").map(|word| word.to_string_lossy().into_owned());
    choose_from(asked, word.as_deref(), |isa| generator(isa).err())
}

/// The code generator of this process for a kind of code, or why there is none.
pub(crate) fn generator(isa: Isa) -> Result<&'static Jit, &'static JitError> {
    static GENERATORS: [OnceLock<Result<Jit, JitError>>; 3] = [const { OnceLock::new() }; 3];
    let cell = match isa {
        Isa::Avx512 => &GENERATORS[0],
        Isa::Avx2 => &GENERATORS[1],
        Isa::Portable => &GENERATORS[2],
    };
    cell.get_or_init(|| Jit::new(isa)).as_ref()
}

/// [`choose`], given what `TWNC_ISA` says and what keeps a kind of code from running here.
fn choose_from(
    asked: Option<Backend>,
    word: Option<&str>,
    obstacle: impl Fn(Isa) -> Option<&'static JitError>,
) -> Result<Choice, Error> {
    let asked = match (asked, word) {
        (Some(backend), _) => Some(backend),
        (None, Some(word)) => Some(named(word)?),
        (None, None) => None,
    };
    match asked {
        Some(Backend::Interpreter) => Ok(Choice { backend: Backend::Interpreter, fallback: None }),
        Some(backend @ Backend::Generated(isa)) => match obstacle(isa) {
            None => Ok(Choice { backend, fallback: None }),
            Some(reason) => Err(Error::Backend { name: backend.name(), reason }),
        },
        None => {
            let mut fallback = None;
            for isa in Isa::ALL {
                match obstacle(isa) {
                    None => return Ok(Choice { backend: Backend::Generated(isa), fallback: None }),
                    reason => fallback = reason,
                }
            }
            Ok(Choice { backend: Backend::Interpreter, fallback })
        }
    }
}

fn named(word: &str) -> Result<Backend, Error> {
    let all = || [Backend::Interpreter].into_iter().chain(Isa::ALL.map(Backend::Generated));
    all().find(|backend| backend.name() == word).ok_or_else(|| {
        let known = all().map(Backend::name).collect::<Vec<_>>().join(", ");
        Error::UnknownBackend { word: word.to_owned(), known }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(_: Isa) -> Option<&'static JitError> {
        static DENIED: OnceLock<JitError> = OnceLock::new();
        Some(DENIED.get_or_init(|| JitError::Machine("not here".into())))
    }

    #[test]
    fn what_is_asked_for_is_what_runs() {
        const PORTABLE: Backend = Backend::Generated(Isa::Portable);
        const FASTEST: Backend = Backend::Generated(Isa::Avx512);
        const AVX2: Backend = Backend::Generated(Isa::Avx2);
        const INTERPRETER: Backend = Backend::Interpreter;
        let unknown = "TWNC_ISA: `frob` is not available here; there are interpreter, avx512, avx2, portable";
        let refused = "`portable` is not available here: no code generator for this machine (not here); run with the interpreter";
        // Asked for, TWNC_ISA, what runs where code can be generated, what runs where it cannot.
        type Row = (
            Option<Backend>,
            Option<&'static str>,
            Result<Backend, &'static str>,
            Result<Backend, &'static str>,
        );
        let table: [Row; 8] = [
            (None, None, Ok(FASTEST), Ok(INTERPRETER)),
            (
                None,
                Some("avx2"),
                Ok(AVX2),
                Err(
                    "`avx2` is not available here: no code generator for this machine (not here); run with the interpreter",
                ),
            ),
            (None, Some("interpreter"), Ok(INTERPRETER), Ok(INTERPRETER)),
            (None, Some("portable"), Ok(PORTABLE), Err(refused)),
            (None, Some("frob"), Err(unknown), Err(unknown)),
            (Some(INTERPRETER), Some("frob"), Ok(INTERPRETER), Ok(INTERPRETER)),
            (Some(PORTABLE), None, Ok(PORTABLE), Err(refused)),
            (Some(PORTABLE), Some("interpreter"), Ok(PORTABLE), Err(refused)),
        ];
        for (asked, word, with, without) in table {
            let able = choose_from(asked, word, |_| None).map_err(|e| e.to_string());
            assert_eq!(able.map(|choice| choice.backend), with.map_err(str::to_owned), "{asked:?} {word:?}");
            let unable = choose_from(asked, word, denied).map_err(|e| e.to_string());
            // Only a choice that nobody made has fallen back.
            let fallen = unable.as_ref().is_ok_and(|choice| choice.fallback.is_some());
            assert_eq!(fallen, asked.is_none() && word.is_none(), "{asked:?} {word:?}");
            assert_eq!(
                unable.map(|choice| choice.backend),
                without.map_err(str::to_owned),
                "{asked:?} {word:?}"
            );
        }
    }
}
