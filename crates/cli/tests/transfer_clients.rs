//! Layouts of ours in the hands of others, and theirs in ours.
