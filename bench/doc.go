// Bench measures keytail side by side with what it replaces and with what is
// possible, in pairs within one run: on a machine that is shared with others only
// ratios mean anything.
//
//	go run ./bench list       what there is to measure
//	go run ./bench hit auth   measures these, prints them, and keeps the results in docs/bench
//	go run ./bench report     writes docs/BENCHMARKS.md and its plots from the results kept;
//	                          what has none is measured first
//
// A row is a line of the report's first table: a function that measures, and its
// goals. --quick does each with tiny sizes, so that tests can
// show that nothing has rotted; such figures are never kept.
package main
