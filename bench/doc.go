// Bench measures keytail beside what it replaces and beside the best that is
// possible, in pairs within one run: on a machine that other programs share, only
// ratios are meaningful.
//
//	go -C bench run . list       lists the rows
//	go -C bench run . hit auth   measures these rows, prints the results, and keeps them in docs/bench
//	go -C bench run . report     writes docs/performance.md and its plots from the kept results;
//	                             measures rows that have none
//
// A row is a function that measures, with its goals. --quick runs each row with tiny
// sizes, so that a test can run them all; such results are never kept.
//
// bench is a module of its own: its plots, histograms and profiles are no dependency
// of programs that use keytail.
package main
