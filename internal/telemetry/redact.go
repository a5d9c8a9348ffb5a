package telemetry

import (
	"net/url"
	"os"
	"strings"
	"unicode/utf8"
)

// The variables with what the collector asks of its clients, which is mostly a secret.
const (
	envHeaders       = "OTEL_EXPORTER_OTLP_HEADERS"
	envTracesHeaders = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
)

// whatToDo is for the SDK's messages about variables that it cannot read. It logs their
// values, too, such as a header without "=" with the secret in it.
var whatToDo = map[string]string{
	"parse headers":       "a header is ignored: OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_TRACES_HEADERS must be name=value, separated by commas",
	"escape header value": "a header is ignored: write a percent sign in OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_TRACES_HEADERS as %25",
	"parse url":           "an endpoint is ignored: OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be URLs, such as http://collector:4318",
	"parse duration":      "a duration is ignored: OTEL_EXPORTER_OTLP_TIMEOUT and OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be whole numbers of milliseconds",
}

// explain is a message of the SDK without the values that it was about.
func explain(message string) string {
	if text, known := whatToDo[message]; known {
		return text
	}
	return message
}

// longestError is what a log line has of an error, in bytes: a collector's answer, which
// is a part of it, may have 4 MiB.
const longestError = 500

// errorText is an error about an export without the values of the headers, which the
// answer of a collector may repeat.
func errorText(err error) string {
	text := err.Error()
	for _, name := range []string{envHeaders, envTracesHeaders} {
		for header := range strings.SplitSeq(os.Getenv(name), ",") {
			_, value, _ := strings.Cut(header, "=")
			value = strings.TrimSpace(value)
			text = hide(text, value)
			if plain, err := url.PathUnescape(value); err == nil {
				text = hide(text, strings.TrimSpace(plain))
			}
		}
	}
	if len(text) <= longestError {
		return text
	}
	end := longestError
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// hide replaces a secret, and its parts: a collector may repeat only what follows Bearer.
func hide(text, secret string) string {
	const shortest = 4 // a part such as v1 is no secret, and stands in many texts
	for _, part := range append([]string{secret}, strings.Fields(secret)...) {
		if len(part) >= shortest {
			text = strings.ReplaceAll(text, part, "[hidden]")
		}
	}
	return text
}
