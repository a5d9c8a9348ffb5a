// Package expiry finds the keys that are about to expire: it counts them, and reports
// each one once.
//
// It looks at what package preload reads anyway: every document, at the start, after a
// loss, and in each audit. So it needs no index on the expiry, which most collections
// lack, no query of a million documents, and nothing on the validation path. The price
// is the resolution: a key is noticed up to one audit interval (an hour) late, of the
// days that the notice is long. Without scans, because the cache is not to hold every
// key or cannot, it knows nothing, and says so: there is no number then.
package expiry
