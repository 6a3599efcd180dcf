//! Four hospitals fine-tune one model together: the main job.
