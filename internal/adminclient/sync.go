package adminclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/keytail/keytail/api"
)

// SyncResult is the response of Sync.
type SyncResult struct {
	api.SyncResult
	Response `json:"-"`
}

// Sync waits until an instance, or the fleet, has processed a revision. A timeout
// that expires is not an error. Zero: the server's own.
func (c *Client) Sync(ctx context.Context, revision, scope string, timeout time.Duration) (*SyncResult, error) {
	query := url.Values{"revision": {revision}, "scope": {scope}}
	wait := addTimeout(query, timeout)
	var result SyncResult
	response, err := c.do(ctx, &call{method: http.MethodGet, path: api.PathSync, query: query, wait: wait}, &result)
	if err != nil {
		return nil, err
	}
	if result.Instances == nil {
		return nil, errors.New("the response has no instances: is the server keytail?")
	}
	result.Response = *response
	return &result, nil
}

// InstanceList is the response of Instances.
type InstanceList struct {
	api.InstanceList
	Response `json:"-"`
}

// Instances returns the live instances.
func (c *Client) Instances(ctx context.Context) (*InstanceList, error) {
	var list InstanceList
	response, err := c.do(ctx, &call{method: http.MethodGet, path: api.PathInstances}, &list)
	if err != nil {
		return nil, err
	}
	if list.Instances == nil {
		return nil, errors.New("the response has no instances: is the server keytail?")
	}
	list.Response = *response
	return &list, nil
}
