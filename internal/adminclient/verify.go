package adminclient

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytail/keytail/api"
)

// Verdict on a key.
type Verdict struct {
	api.Verdict
	Response `json:"-"`
}

// errInconsistent: valid without the code VALID counts as not valid
// (docs/http.md).
var errInconsistent = errors.New("the verdict is inconsistent: is the server keytail?")

// Verify sends a key to the public listener. A verdict with an error status
// (UNAVAILABLE, MISSING) is an Error with that Code.
func (c *Client) Verify(ctx context.Context, r api.VerifyRequest) (*Verdict, error) {
	var v Verdict
	response, err := c.do(ctx, &call{method: http.MethodPost, path: api.PathVerify, body: r}, &v)
	if err != nil {
		return nil, err
	}
	if v.Valid != (v.Code == "VALID") || v.Code == "" {
		return nil, errInconsistent
	}
	if v.Identity == nil {
		v.Identity = &api.Identity{}
	}
	v.Response = *response
	return &v, nil
}
