package serverspan

import (
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// methods are the ones that the semantic conventions know. A client may invent others.
var methods = map[string]attribute.KeyValue{
	http.MethodConnect: semconv.HTTPRequestMethodConnect, http.MethodDelete: semconv.HTTPRequestMethodDelete,
	http.MethodGet: semconv.HTTPRequestMethodGet, http.MethodHead: semconv.HTTPRequestMethodHead,
	http.MethodOptions: semconv.HTTPRequestMethodOptions, http.MethodPatch: semconv.HTTPRequestMethodPatch,
	http.MethodPost: semconv.HTTPRequestMethodPost, http.MethodPut: semconv.HTTPRequestMethodPut,
	http.MethodTrace: semconv.HTTPRequestMethodTrace,
}

// HTTPName is the name of the span of an HTTP request: its method and its route.
func HTTPName(method, route string) string {
	if _, known := methods[method]; !known {
		method = "HTTP"
	}
	return method + " " + route
}

// HTTPAttributes are those of an HTTP request. Attributes whose value a client chooses are
// left out, because a key may stand there: url.path (unless it is the route), url.query,
// user_agent.original, server.address, client.address.
func HTTPAttributes(r *http.Request, route string) []attribute.KeyValue {
	method, known := methods[r.Method]
	if !known {
		method = semconv.HTTPRequestMethodOther
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	version := strconv.Itoa(r.ProtoMajor)
	if r.ProtoMajor == 1 {
		version += "." + strconv.Itoa(r.ProtoMinor)
	}
	all := append(make([]attribute.KeyValue, 0, 5), method, semconv.HTTPRoute(route), semconv.URLScheme(scheme), semconv.NetworkProtocolVersion(version))
	if !strings.Contains(route, "{") {
		all = append(all, semconv.URLPath(route))
	}
	return all
}

// HTTPStatus are the attributes of a response.
func HTTPStatus(status int) []attribute.KeyValue {
	all := []attribute.KeyValue{semconv.HTTPResponseStatusCode(status)}
	if status >= 500 {
		all = append(all, semconv.ErrorTypeKey.String(strconv.Itoa(status)))
	}
	return all
}
