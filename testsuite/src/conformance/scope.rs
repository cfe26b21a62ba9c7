//! What of the suite is in scope: the operators of convolutional networks, multilayer perceptrons and encoder transformers, on the element types that
//! programs have. Whatever is not has a reason that would hold if somebody had the time.

use super::case::Case;
use onnx_protobuf::tensor_proto::DataType;
use std::ops::RangeInclusive;

const TRAINING: &str =
    "training: a loss, a gradient, an optimiser, or statistics of the batch; programs run inference";
const RANDOM: &str = "random results, which have no expected values but for their shape";
const SEQUENCES: &str =
    "sequences, maps and optionals: values that are not tensors, whose shapes depend on data";
const TEXTS: &str = "texts, which are prepared before a network sees numbers";
const NARROW: &str = "elements of less than 16 bits that are floats, or of less than 8 that are integers, as data: networks hold them as constants";
const UNSIGNED: &str = "unsigned integers of 16 bits and more as data: programs have no such type, and these networks do not compute with them";
const RECURRENT: &str = "recurrence over a sequence, whose length is data or open: recurrent networks";
const SIGNAL: &str = "signal processing in front of a network: windows, transforms, features of sound";
const COUNTED: &str =
    "the size of the result depends on data; sizes of programs depend on those of inputs alone";
const DECODER: &str = "state that one run hands to the next: decoders that generate";
const BITS: &str = "bits of integers, which these networks do not compute with";
const LEARNERS: &str = "classical machine learning, not networks";
const IMAGES: &str = "decoding of image files, in front of a network";
const MATRICES: &str = "linear algebra on matrices, not part of these networks";
const PREVIEW: &str = "preview operators, whose definition may still change";

/// Operators out of scope.
const OPERATORS: &[(&str, &str)] = &[
    ("NegativeLogLikelihoodLoss", TRAINING),
    ("SoftmaxCrossEntropyLoss", TRAINING),
    ("Gradient", TRAINING),
    ("Adagrad", TRAINING),
    ("Adam", TRAINING),
    ("Momentum", TRAINING),
    ("Bernoulli", RANDOM),
    ("RandomUniformLike", RANDOM),
    ("RandomNormalLike", RANDOM),
    ("RandomUniform", RANDOM),
    ("RandomNormal", RANDOM),
    ("Multinomial", RANDOM),
    ("SequenceAt", SEQUENCES),
    ("SequenceConstruct", SEQUENCES),
    ("SequenceEmpty", SEQUENCES),
    ("SequenceErase", SEQUENCES),
    ("SequenceInsert", SEQUENCES),
    ("SequenceLength", SEQUENCES),
    ("SequenceMap", SEQUENCES),
    ("SplitToSequence", SEQUENCES),
    ("ConcatFromSequence", SEQUENCES),
    ("Optional", SEQUENCES),
    ("OptionalGetElement", SEQUENCES),
    ("OptionalHasElement", SEQUENCES),
    ("StringNormalizer", TEXTS),
    ("StringConcat", TEXTS),
    ("StringSplit", TEXTS),
    ("RegexFullMatch", TEXTS),
    ("TfIdfVectorizer", TEXTS),
    ("LabelEncoder", TEXTS),
    ("RNN", RECURRENT),
    ("LSTM", RECURRENT),
    ("GRU", RECURRENT),
    ("Scan", RECURRENT),
    ("ReverseSequence", RECURRENT),
    ("DFT", SIGNAL),
    ("STFT", SIGNAL),
    ("MelWeightMatrix", SIGNAL),
    ("BlackmanWindow", SIGNAL),
    ("HammingWindow", SIGNAL),
    ("HannWindow", SIGNAL),
    ("Unique", COUNTED),
    ("NonMaxSuppression", COUNTED),
    ("TensorScatter", DECODER),
    ("CausalConvWithState", DECODER),
    ("LinearAttention", DECODER),
    ("BitShift", BITS),
    ("BitwiseAnd", BITS),
    ("BitwiseOr", BITS),
    ("BitwiseXor", BITS),
    ("BitwiseNot", BITS),
    ("BitCast", BITS),
    ("TreeEnsemble", LEARNERS),
    ("ArrayFeatureExtractor", LEARNERS),
    ("Binarizer", LEARNERS),
    ("ImageDecoder", IMAGES),
    ("Det", MATRICES),
    ("FlexAttention", PREVIEW),
];

/// FLOAT8E4M3FN to FLOAT8E5M2FNUZ, UINT4, INT4, FLOAT4E2M1, FLOAT8E8M0, UINT2, INT2: the schema that onnx-protobuf was made of ends before the last.
const NARROW_TYPES: RangeInclusive<i32> = 17..=26;

/// Why a test is out of scope; nothing if it is in scope.
pub(super) fn excluded(case: &Case) -> Option<&'static str> {
    let (dense, elements) = case.types();
    let has = |types: &[DataType]| elements.iter().any(|&n| types.iter().any(|&ty| ty as i32 == n));
    let of_operators =
        |name: &str| OPERATORS.iter().find(|(operator, _)| *operator == name).map(|(_, why)| *why);
    let inside = case.model.graph.node.iter().find_map(|node| of_operators(&node.op_type));
    if let Some(why) = of_operators(&case.operator).or(inside) {
        return Some(why);
    }
    if !dense {
        return Some(SEQUENCES);
    }
    if has(&[DataType::STRING]) {
        return Some(TEXTS);
    }
    if case.name.contains("training") || case.name.contains("_train_") {
        return Some(TRAINING);
    }
    if elements.iter().any(|n| NARROW_TYPES.contains(n)) {
        return Some(NARROW);
    }
    has(&[DataType::UINT16, DataType::UINT32, DataType::UINT64]).then_some(UNSIGNED)
}
