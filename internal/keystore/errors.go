package keystore

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// These errors are what can be wrong with the database. Each is wrapped in an
// error whose text has one sentence with what to do.
var (
	// ErrCollectionMissing: the collection does not exist.
	ErrCollectionMissing = errors.New("the collection does not exist")
	// ErrIsView: the collection is a view, which has no change stream.
	ErrIsView = errors.New("the collection is a view")
	// ErrIsTimeseries: the collection is a time series, or of another kind that
	// has no change stream.
	ErrIsTimeseries = errors.New("the collection is not a plain collection")
	// ErrStandalone: the server is not part of a replica set.
	ErrStandalone = errors.New("the server is a standalone mongod")
	// ErrNotPrimary: the client has a direct connection to a member that is not
	// the primary.
	ErrNotPrimary = errors.New("the server is not the primary")
	// ErrNoUniqueIndex: no index makes the hash unique in the whole collection.
	ErrNoUniqueIndex = errors.New("there is no unique index on the hash")
	// ErrCollation: the collection compares strings by the rules of a language.
	ErrCollation = errors.New("the collection has a collation")
	// ErrNoKeys: no document of the collection can be found as a key with this
	// schema.
	ErrNoKeys = errors.New("the collection holds no keys that can be looked up")
	// ErrUnusable: no key of the collection can be used now, most likely because
	// the mapping has a wrong form.
	ErrUnusable = errors.New("no key of the collection can be used with this mapping")
	// ErrCredentials: the server does not accept the user name or the password.
	ErrCredentials = errors.New("the credentials are refused")
	// ErrUnauthorized: the user does not have a privilege that keytail needs.
	ErrUnauthorized = errors.New("a privilege is missing")
	// ErrUnreachable: no primary has answered in time.
	ErrUnreachable = errors.New("MongoDB cannot be reached")
)

// explainedError is an error with a text for people. For errors.Is it is one of
// the errors above.
type explainedError struct {
	text string
	kind error
	// cause is the driver's error, if there is one. Its text contains no
	// credentials.
	cause error
}

func (s *explainedError) Error() string {
	if s.cause == nil {
		return s.text
	}
	return s.text + ": " + s.cause.Error()
}

func (s *explainedError) Unwrap() []error {
	if s.cause == nil {
		return []error{s.kind}
	}
	return []error{s.kind, s.cause}
}

// explained returns an explainedError without a cause.
func explained(kind error, format string, args ...any) error {
	return &explainedError{text: fmt.Sprintf(format, args...), kind: kind}
}

// Server error codes, from MongoDB's error_codes.yml.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeIllegalOperation     = 20 // the reply of a server without transactions
	codeMaxTimeMSExpired     = 50
	codeValidation           = 121 // a collection's validator rejected the document
	codeNamespaceExists      = 48
	codeNoSuchTransaction    = 251
	codeNotInTransaction     = 263
	codeDuplicateKey         = 11000
	// codeAtlas is MongoDB Atlas' reply to a wrong password, and to an
	// operation that the user is not allowed to do.
	codeAtlas = 8000
)

func hasCode(err error, codes ...int) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range codes {
		if server.HasErrorCode(code) {
			return true
		}
	}
	return false
}

// NotAllowed reports whether the server refused a command because the user does
// not have the privilege. It expects an error of a command that the server
// otherwise understands.
func NotAllowed(err error) bool { return hasCode(err, codeUnauthorized, codeAtlas) }

func (s *Store) explain(doing string, err error) error { return Explain(s.database.Name(), doing, err) }

// Explain adds to the driver's error a sentence with what to do, if it is
// an error that an operator can correct. doing is what failed, as in "reading
// a key".
func Explain(database, doing string, err error) error {
	switch {
	case isCredentials(err):
		return &explainedError{"MongoDB rejects the user name or password: check them in the connection string, and check authSource, the database that stores the user", ErrCredentials, err}
	case hasCode(err, codeUnauthorized):
		return &explainedError{fmt.Sprintf("%s is not allowed: grant the user of the connection string the role read on database %q, or readWrite for --ensure-schema (docs/deploy.md lists the minimum under Privileges)", doing, database), ErrUnauthorized, err}
	case isUnreachable(err):
		return &explainedError{fmt.Sprintf("%s failed because no primary answered: check the hosts in the connection string, and that the replica set has a primary", doing), ErrUnreachable, err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func isCredentials(err error) bool {
	var refused *auth.Error
	return hasCode(err, codeAuthenticationFailed, codeAtlas) || errors.As(err, &refused)
}

func isUnreachable(err error) bool {
	var selection topology.ServerSelectionError
	return errors.As(err, &selection) || mongo.IsNetworkError(err)
}
