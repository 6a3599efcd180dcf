//! The round engine, its storage, the gRPC server and the model builder's program.
