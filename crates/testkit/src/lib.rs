//! Scripted origin, visitor, certificates, node in the process, scenario runner: for tests only.
