"""What each phase does with what is seen: one handler a phase, each a function Turn -> Decision."""
