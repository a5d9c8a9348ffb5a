package managedkey

import "errors"

// What keeps keytail from doing what it is asked to. Each comes inside an error
// whose text is a sentence for whoever asked, without any secret.
var (
	// ErrInput says that what is asked for makes no sense.
	ErrInput = errors.New("this cannot be asked for")
	// ErrNoSuchKey says that there is no key of this id, or that it is another
	// user's.
	ErrNoSuchKey = errors.New("there is no such key")
	// ErrAmbiguousID says that two keys have this id, one by another type.
	ErrAmbiguousID = errors.New("two keys have this id, by different types: narrow it down by user_id, or change the one by its type in the database")
	// ErrDuplicate says that a unique index of the collection refuses the key.
	ErrDuplicate = errors.New("another key has the same")
	// ErrNotRotatable says that the key is not valid now, so that nothing can take
	// its place.
	ErrNotRotatable = errors.New("only a key that is valid now can be rotated")
	// ErrChanged says that the key is not as it was when the caller looked at it.
	ErrChanged = errors.New("the key has been changed meanwhile: look at it again")
	// ErrCannotHold says that the collection has no place for what is to be
	// written.
	ErrCannotHold = errors.New("the collection has no place for this")
	// ErrUnavailable says that the database did not answer, and nothing was
	// written.
	ErrUnavailable = errors.New("the database does not answer, and nothing was written: ask again")
	// ErrRefused says that the database does not let keytail do this.
	ErrRefused = errors.New("the database refuses this")
)

// UnknownError is an error after which nobody knows whether a write took effect.
type UnknownError struct {
	// KeyID names the key whose document tells, once somebody looks at it. Of a
	// rotation it is the new one.
	KeyID string
	Cause error
}

func (u *UnknownError) Error() string {
	return "it is not known whether the write took effect: look at the key " + u.KeyID + " before you try again"
}

func (u *UnknownError) Unwrap() error { return u.Cause }

// refusal is an ErrInput with a text of its own.
type refusal struct{ text string }

func (r *refusal) Error() string        { return r.text }
func (r *refusal) Is(target error) bool { return target == ErrInput }

// Refuse makes an ErrInput of a sentence, which must not quote what was sent.
func Refuse(text string) error { return &refusal{text} }
