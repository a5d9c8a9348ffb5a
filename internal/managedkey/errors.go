package managedkey

import "errors"

// The errors of a request. Each is wrapped by an error whose text is for the
// caller, without a secret.
var (
	// ErrInvalid: the request is not valid.
	ErrInvalid = errors.New("the request is not valid")
	// ErrNotPermitted: the caller's token is bound to another owner than the request
	// names.
	ErrNotPermitted = errors.New("the admin token does not permit this")
	// ErrNoSuchKey: no key has this id, or it belongs to another owner.
	ErrNoSuchKey = errors.New("this key does not exist")
	// ErrAmbiguousID: two keys have this id, with different BSON types.
	ErrAmbiguousID = errors.New("two keys have this id, with different BSON types: restrict the request by user_id, or change one of them in the database")
	// ErrDuplicate: a unique index of the collection refuses the key.
	ErrDuplicate = errors.New("another key has the same value in a unique index")
	// ErrNotRotatable: the key is not valid now, so that no key can replace it.
	ErrNotRotatable = errors.New("only a valid key can be rotated")
	// ErrChanged: the key is not as it was when the caller read it.
	ErrChanged = errors.New("the key has changed since it was read: read it again")
	// ErrCannotStore: the mapping has no field for a value.
	ErrCannotStore = errors.New("the mapping has no field for this value")
	// ErrUnavailable: the database did not answer, and nothing was written.
	ErrUnavailable = errors.New("the database did not answer and nothing was written: try again")
	// ErrSlow: the database did not finish a list in time, most likely for want of an
	// index.
	ErrSlow = errors.New("the list takes too long")
	// ErrInterrupted: the database did not confirm a revocation of several keys,
	// which can be repeated.
	ErrInterrupted = errors.New("the database did not confirm that all of these keys are revoked: repeat the request, which skips those that are")
	// ErrRefused: the database user lacks a privilege.
	ErrRefused = errors.New("the database user lacks a privilege")
)

// UnknownError is an error after which it is unknown whether a write took
// effect.
type UnknownError struct {
	// KeyID is the key whose document shows the outcome. Of a rotation it is the
	// new key.
	KeyID string
	Cause error
}

func (u *UnknownError) Error() string {
	return "it is not known whether the write took effect: read the key " + u.KeyID + " before you try again"
}

func (u *UnknownError) Unwrap() error { return u.Cause }

// invalid is an ErrInvalid with its own text.
type invalid struct{ text string }

func (r *invalid) Error() string        { return r.text }
func (r *invalid) Is(target error) bool { return target == ErrInvalid }

// Invalid makes an ErrInvalid. The text must not quote the request.
func Invalid(text string) error { return &invalid{text} }
