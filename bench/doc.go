// Bench compares keytail with the code that it replaces and with the smallest
// program that could do the work. It measures both sides alternately within one run:
// on a machine that other programs share, only ratios are meaningful.
//
//	go -C bench run . list       lists the rows
//	go -C bench run . hit auth   measures these rows, prints the results, and saves them in docs/bench
//	go -C bench run . report     writes docs/BENCHMARKS.md and its plots from the saved results
//	go -C bench run . delays     measures the delays of each fault (docs/delays.md)
//	go -C bench run . soak       runs a daemon at load with faults (docs/soak.md)
//	go -C bench run . attacks    attacks daemons from outside, such as one before and one after a change
//
// A row is one comparison: a function that measures, and its goals. --quick runs a row
// with tiny sizes, so that a test can run them. Its results are never saved.
//
// bench is a separate module, so that its libraries for plots, histograms and profiles
// are no dependencies of programs that use keytail.
package main
