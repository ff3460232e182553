//! Every test that drives the built binary or crosses rooms, one module a subject.
