"""Tools for those who read, extend and release minidl."""
