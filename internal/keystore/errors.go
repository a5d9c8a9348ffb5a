package keystore

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// What can be wrong with a database that keytail is pointed at. Each comes
// inside an error whose text is one sentence that says what to do.
var (
	// ErrCollectionMissing: the collection does not exist.
	ErrCollectionMissing = errors.New("the collection does not exist")
	// ErrIsView: the collection is a view, which has no change stream.
	ErrIsView = errors.New("the collection is a view")
	// ErrIsTimeseries: the collection is a time series, or of another kind that
	// has no change stream.
	ErrIsTimeseries = errors.New("the collection is not a plain one")
	// ErrStandalone: the server is not part of a replica set.
	ErrStandalone = errors.New("the server is a standalone mongod")
	// ErrNotPrimary: the client is tied to a member that is not the primary.
	ErrNotPrimary = errors.New("the server is not the primary")
	// ErrNoUniqueIndex: no index makes the hash unique in all of the collection.
	ErrNoUniqueIndex = errors.New("there is no unique index on the hash")
	// ErrCollation: the collection compares strings by a language's rules.
	ErrCollation = errors.New("the collection has a collation")
	// ErrNoKeys: no document of the collection could be found as a key by this
	// schema.
	ErrNoKeys = errors.New("the collection holds no keys that can be looked up")
	// ErrCredentials: the server does not accept the name or the password.
	ErrCredentials = errors.New("the credentials are refused")
	// ErrUnauthorized: the user may not do what keytail needs.
	ErrUnauthorized = errors.New("a privilege is missing")
	// ErrUnreachable: no primary has answered in time.
	ErrUnreachable = errors.New("MongoDB cannot be reached")
)

// sentence is an error for people that is one of the kinds above to errors.Is.
type sentence struct {
	text string
	kind error
	// cause is the driver's error, if there is one. Its text has no credentials.
	cause error
}

func (s *sentence) Error() string {
	if s.cause == nil {
		return s.text
	}
	return s.text + ": " + s.cause.Error()
}

func (s *sentence) Unwrap() []error {
	if s.cause == nil {
		return []error{s.kind}
	}
	return []error{s.kind, s.cause}
}

// refuse is a sentence without a cause.
func refuse(kind error, format string, args ...any) error {
	return &sentence{text: fmt.Sprintf(format, args...), kind: kind}
}

// Server error codes, from MongoDB's error_codes.yml.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeIllegalOperation     = 20  // what a server without transactions says
	codeValidation           = 121 // of a collection's own validator
	codeNamespaceExists      = 48
	codeNoSuchTransaction    = 251
	codeNotInTransaction     = 263
	codeDuplicateKey         = 11000
	// codeAtlas is what MongoDB Atlas answers to a wrong password, and to what a user
	// may not do.
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

// NotAllowed reports whether the server said that a credential may not do this,
// among the errors of a command that it otherwise understood.
func NotAllowed(err error) bool { return hasCode(err, codeUnauthorized, codeAtlas) }

// explain turns the driver's error into a sentence that says what to do, when
// it is one of those that an operator can do something about. doing says what
// failed, as in "reading a key".
func (s *Store) explain(doing string, err error) error {
	switch {
	case isCredentials(err):
		return &sentence{"MongoDB refuses the user name or password: check them in the connection string, and authSource, the database that knows the user", ErrCredentials, err}
	case hasCode(err, codeUnauthorized):
		return &sentence{fmt.Sprintf("%s is not allowed: grant the user of the connection string the role read on database %q, or readWrite for --ensure-schema (README.md says under Privileges how little will do)", doing, s.database.Name()), ErrUnauthorized, err}
	case isUnreachable(err):
		return &sentence{fmt.Sprintf("%s failed because no primary answered: check the hosts in the connection string, and that the replica set has a primary", doing), ErrUnreachable, err}
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
