package managedkey

import "github.com/keytail/keytail/internal/apikey"

// Explanation says what an instance answers to a request with a key, and why.
type Explanation struct {
	KeyID string
	// Instance is the verdict that the instance gives now. Its Record may be nil.
	Instance apikey.Verdict
	// Database is the verdict of the document as the database has it now. It differs
	// while a change has not reached the instance.
	Database apikey.Verdict
}
