// Package lifecycle is the life of a key in words: what may be said of one, what
// is shown of one, and what can go wrong. It does nothing by itself: package
// keyadmin writes keys, package routes answers for it over HTTP, and both speak
// this language.
//
// It imports the standard library only, and what is pure of the module.
package managedkey
