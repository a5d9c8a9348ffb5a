package delays

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/auth"
)

const (
	// callTimeout is more than a request takes whose database read runs into all of its
	// limits.
	callTimeout = 10 * time.Second
	// idleConnections is more than the requests that can be open at a time.
	idleConnections = 2000
)

// noAnswer is the code of a request that got none: nobody listens, or the connection ended.
const noAnswer auth.Code = "no answer"

// answer is what a caller got for one request.
type answer struct {
	// sent is a time before the request was sent, received one after the answer arrived.
	sent, received time.Time
	code           auth.Code
	// staleness is the reported age, rounded up. It means nothing unless hasAge.
	staleness time.Duration
	hasAge    bool
}

// caller validates keys over HTTP.
type caller struct {
	daemon *Daemon
	client *http.Client
}

func newCaller(d *Daemon) *caller {
	return &caller{d, &http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: idleConnections}}}
}

func (c *caller) ask(ctx context.Context, key string) answer {
	a := answer{sent: time.Now()}
	verdict, err := c.verify(ctx, key)
	a.received = time.Now()
	if err != nil {
		a.code = noAnswer
		return a
	}
	a.code = auth.Code(verdict.Code)
	if verdict.StalenessMS != nil {
		a.staleness, a.hasAge = time.Duration(*verdict.StalenessMS)*time.Millisecond, true
	}
	return a
}

// verify returns what the daemon says about a key. The code of an unexpected status is the
// status itself.
func (c *caller) verify(ctx context.Context, key string) (api.Verdict, error) {
	var v api.Verdict
	text, err := json.Marshal(api.VerifyRequest{Key: key})
	if err != nil {
		return v, err
	}
	now := c.daemon.now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+now.Public+api.PathVerify, bytes.NewReader(text))
	if err != nil {
		return v, err
	}
	request.Header.Set("Authorization", "Bearer "+now.CallerToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return v, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return v, err
	case response.StatusCode == http.StatusServiceUnavailable:
		v.Code = string(auth.Unavailable)
	case response.StatusCode != http.StatusOK:
		v.Code = fmt.Sprintf("status %d", response.StatusCode)
	default:
		err = json.Unmarshal(body, &v)
	}
	return v, err
}
