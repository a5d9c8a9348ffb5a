package adminclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// InstanceInfo is one instance of the fleet. Nil: it has not said.
type InstanceInfo struct {
	ID          string    `json:"id"`
	Version     string    `json:"version"`
	Revision    *string   `json:"revision"`
	StalenessMS *int64    `json:"staleness_ms"`
	LastSeen    time.Time `json:"last_seen"`
}

// Synced is the answer of Sync. It says yes or no.
type Synced struct {
	Receipt
	Answer `json:"-"`
}

// Sync waits until an instance, or the fleet, has processed a revision. Time that
// is up is no error. Zero: the server's own time.
func (c *Client) Sync(ctx context.Context, revision string, scope Scope, timeout time.Duration) (*Synced, error) {
	query := url.Values{"revision": {revision}, "scope": {string(scope)}}
	wait := addTimeout(query, timeout)
	var synced Synced
	answer, err := c.do(ctx, &call{method: http.MethodGet, path: pathSync, query: query, wait: wait}, &synced)
	if err != nil {
		return nil, err
	}
	if synced.Synced == nil {
		return nil, errors.New("the answer does not say whether it is synced, is it keytail's?")
	}
	synced.Answer = *answer
	return &synced, nil
}

// InstanceList is the answer of Instances.
type InstanceList struct {
	Instances []InstanceInfo `json:"instances"`
	Answer    `json:"-"`
}

// Instances are those that live.
func (c *Client) Instances(ctx context.Context) (*InstanceList, error) {
	var list InstanceList
	answer, err := c.do(ctx, &call{method: http.MethodGet, path: pathInstances}, &list)
	if err != nil {
		return nil, err
	}
	if list.Instances == nil {
		return nil, errors.New("the answer is no list of instances, is it keytail's?")
	}
	list.Answer = *answer
	return &list, nil
}
