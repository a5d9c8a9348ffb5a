package routes

import (
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/instrument"
)

// The names of routes in the metrics that are not those of Gin's path.
const (
	pathPolicyAny = api.PathPolicy + "*any"
	// otherRoute is every request without a route: an unknown path, or a method that
	// the path does not have.
	otherRoute = "other"
)

// statuses are all statuses of each path of Gin's, as the OpenAPI document has them,
// but for 500: a handler of any path can panic. They are the label code of a metric.
var statuses = map[string][]int{
	otherRoute:        {401, 403, 404, 405},
	api.PathLive:      {200},
	api.PathOpenAPI:   {200, 401, 403},
	api.PathReady:     {200, 400, 503},
	api.PathMetrics:   {200},
	api.PathVerify:    {200, 400, 401, 413, 415, 503},
	api.PathAuth:      {200, 400, 401, 403, 503},
	pathPolicyAny:     {200, 401, 403, 404, 503},
	api.PathSync:      {200, 400, 401, 403, 503},
	api.PathEvents:    {200, 400, 401, 403, 503},
	"/":               {200, 303, 401, 403},
	pathAsset:         {200, 404},
	pathStatusLive:    {200, 400, 401, 403, 503},
	api.PathStatus:    {200, 401, 403},
	api.PathInstances: {200, 400, 401, 403, 503},
	api.PathLogLevel:  {200, 400, 401, 403, 413, 415},

	api.PathKeys:         {200, 201, 400, 401, 403, 409, 413, 415, 422, 503},
	pathKey:              {200, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},
	pathRevoke:           {200, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},
	pathRotate:           {201, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},
	pathExplain:          {200, 400, 401, 403, 404, 503},
	api.PathRevokeLeaked: {200, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},
	api.PathRevokeKeys:   {200, 400, 401, 403, 413, 415, 422, 503},
	api.PathAudit:        {200, 400, 401, 403, 503},

	pathSignIn:     {200, 303, 400, 401, 403, 413, 415, 503},
	pathSignOut:    {303, 403},
	pathKeysPage:   {200, 303, 400, 401, 403, 503},
	pathKeyPage:    {200, 303, 400, 401, 403, 404, 503},
	pathFindPage:   {200, 303, 400, 401, 403, 404, 413, 415, 503},
	pathNewKeyPage: {200, 303, 400, 401, 403, 409, 413, 415, 422, 503},
	pathRotatePage: {200, 303, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},
	pathRevokePage: {200, 303, 400, 401, 403, 404, 409, 412, 413, 415, 422, 503},

	pathPlayground:     {200, 303, 400, 401, 403, 413, 415},
	pathPlaygroundLive: {200, 400, 401, 403, 503},
}

// meter measures the requests of one engine. Nil Requests: none.
type meter struct {
	requests *instrument.Requests
	// routes maps a path of Gin's to its measurement.
	routes map[string]*instrument.Route
}

// prepare makes the series of every route of the engine. Call it before the first
// request, and after the last route.
func (m *meter) prepare(engine *gin.Engine) {
	m.routes = map[string]*instrument.Route{otherRoute: m.route(otherRoute)}
	for _, route := range engine.Routes() {
		if m.routes[route.Path] == nil {
			m.routes[route.Path] = m.route(route.Path)
		}
	}
}

func (m *meter) route(path string) *instrument.Route {
	codes := append([]int{500}, statuses[path]...)
	if path == api.PathEvents || path == pathStatusLive || path == pathPlaygroundLive {
		return m.requests.Stream(path, codes...)
	}
	return m.requests.Route(routeName(path), codes...)
}

// routeName is a path of Gin's as the OpenAPI document has it.
func routeName(path string) string {
	path = strings.ReplaceAll(path, ":id", "{id}")
	path = strings.ReplaceAll(path, ":file", "{file}")
	return strings.ReplaceAll(path, "*any", "{policy}")
}

// measure is outermost, so that it sees the status that recovery sets.
func (m *meter) measure(c *gin.Context) {
	measured := m.routes[requestRoute(c)].Start()
	status := 500 // of a connection that is cut: a handler panicked when its response had begun
	defer func() { measured.Stop(status) }()
	c.Next()
	status = c.Writer.Status()
}

// requestRoute is the path of Gin's whose handler answers a request.
func requestRoute(c *gin.Context) string {
	if path := c.FullPath(); path != "" {
		return path
	}
	return anyMethodRoute(c.Request.URL.EscapedPath())
}

// anyMethodRoute is the route of forward-auth for a request with a method that Gin's
// Any does not list, and otherRoute for the rest.
func anyMethodRoute(path string) string {
	switch {
	case path == api.PathAuth:
		return api.PathAuth
	case strings.HasPrefix(path, api.PathPolicy):
		return pathPolicyAny
	default:
		return otherRoute
	}
}
