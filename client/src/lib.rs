//! Local training, the data holder's policy, the gRPC client and the data holder's program.
