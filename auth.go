package keytail

import "github.com/keytail/keytail/auth"

// The types of package auth in the signatures of Service. The options of the
// middleware, and what a handler learns about the key, are in package auth alone.
type (
	// Request is what a key is needed for.
	Request = auth.Request
	// Verdict is the answer about one key for one request.
	Verdict = auth.Verdict
	// Revision is a version of the database.
	Revision = auth.Revision
	// Option changes what Authenticate and Middleware do.
	Option = auth.Option
)
