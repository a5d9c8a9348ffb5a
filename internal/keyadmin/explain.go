package keyadmin

import (
	"context"
	"errors"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
)

// Validator says how it answers requests. A validator.Validator is one.
type Validator interface {
	// Explain returns the verdict that a request with the key of this hash gets now,
	// and that of the document as the database has it now. The request is not
	// counted, and neither is the use of the key.
	Explain(ctx context.Context, hash apikey.Hash, request *apikey.Request) (instance, database apikey.Verdict)
}

// errNoValidator: the configuration has none.
var errNoValidator = errors.New("keyadmin: Explain needs a Validator in Config")

// Explain says what this instance answers to a request with a key, and why. It needs
// the key's id and not its text. The database must find the document, because the cache
// knows a key by its hash alone.
func (a *Admin) Explain(ctx context.Context, caller managedkey.Caller, id string, request *apikey.Request) (managedkey.Explanation, error) {
	if a.config.Validator == nil {
		return managedkey.Explanation{}, errNoValidator
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	current, err := a.store.FindByID(ctx, id, caller.Owns)
	if err == nil {
		err = a.auditRead(ctx, caller, actionExplain, "", current)
	}
	if err != nil {
		return managedkey.Explanation{}, toManagedKeyErr(err)
	}
	explanation := managedkey.Explanation{KeyID: current.Record.KeyID}
	hash, found := a.store.Schema().LookupHash(current)
	if !found {
		// No text of a key has the hash of this document.
		unfindable := apikey.Verdict{Code: apikey.NotFound, Reason: apikey.Reason{Kind: current.Record.DefectReason}}
		explanation.Instance, explanation.Database = unfindable, unfindable
		return explanation, nil
	}
	explanation.Instance, explanation.Database = a.config.Validator.Explain(ctx, hash, request)
	return explanation, nil
}
