// Package nemesis finds wrong answers. Clients write keys and ask about them
// while faults are made; everything is recorded with times of one clock, and an
// oracle that knows nothing of keytail's inside says which answers cannot have
// been true.
package nemesis
