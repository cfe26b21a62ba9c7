//! Steps with concrete shapes to machine code.
