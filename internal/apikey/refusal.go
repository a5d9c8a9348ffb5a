package apikey

import "time"

// Refusal is what one update of a key's document says about the two fields that can end a key: its
// switch and its expiry. The zero value says nothing.
type Refusal struct {
	// Off: the update switches the key off.
	Off bool
	// Expires: the update sets the expiry, to ExpiresAt (zero: never).
	Expires   bool
	ExpiresAt time.Time
}

// Refuses reports whether the update alone is enough to refuse the key at this time.
func (f Refusal) Refuses(now time.Time) bool {
	return f.Off || f.Expires && !f.ExpiresAt.IsZero() && !now.Before(f.ExpiresAt)
}

// Then is what this update and a later one say together.
func (f Refusal) Then(later Refusal) Refusal {
	later.Off = later.Off || f.Off
	if !later.Expires {
		later.Expires, later.ExpiresAt = f.Expires, f.ExpiresAt
	}
	return later
}

// ApplyTo makes the record one after the update.
func (f Refusal) ApplyTo(r *Record) {
	if f.Off {
		r.Active = false
	}
	if f.Expires {
		r.ExpiresAt = f.ExpiresAt
	}
}
