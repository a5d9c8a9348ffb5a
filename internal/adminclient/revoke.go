package adminclient

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytail/keytail/api"
)

// RevokedLeakedKey is the response of RevokeLeaked.
type RevokedLeakedKey struct {
	api.RevokedLeakedKey
	Response `json:"-"`
}

// RevokeLeaked revokes the key with this text. It can be repeated after any error.
func (c *Client) RevokeLeaked(ctx context.Context, text string, w Write) (*RevokedLeakedKey, error) {
	q := call{method: http.MethodPost, path: api.PathRevokeLeaked, query: userQuery(w.UserID), body: api.RevokeLeakedKeyRequest{Key: text}, repeatable: true}
	q.addWait(w)
	var revoked RevokedLeakedKey
	response, err := c.do(ctx, &q, &revoked)
	if err != nil {
		return nil, err
	}
	if len(revoked.Keys) == 0 {
		return nil, errNoKey
	}
	revoked.Response = *response
	return &revoked, nil
}

// RevokedKeys is the response of RevokeKeys.
type RevokedKeys struct {
	api.RevokedKeys
	Response `json:"-"`
}

// RevokeKeys revokes a page of an owner's keys. It can be repeated after any error.
func (c *Client) RevokeKeys(ctx context.Context, request api.RevokeKeysRequest) (*RevokedKeys, error) {
	var page RevokedKeys
	response, err := c.do(ctx, &call{method: http.MethodPost, path: api.PathRevokeKeys, body: request, repeatable: true}, &page)
	if err != nil {
		return nil, err
	}
	if page.KeyIDs == nil {
		return nil, errors.New("the response has no list of keys: is the server keytail?")
	}
	if page.DryRun != request.DryRun {
		return nil, errors.New("the server did not do what was asked: is it keytail?")
	}
	page.Response = *response
	return &page, nil
}
