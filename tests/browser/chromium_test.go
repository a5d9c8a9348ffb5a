package browser

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/testprogram"
)

// patience is for a machine with much else to do.
const patience = 60 * time.Second

var (
	screenshots = flag.String("screenshots", "", "directory for the pictures of the pages; empty: none are made")
	allLooks    = flag.Bool("all", false, "make pictures of the whole page in every look, not those of the documents")
)

// browser is a tab of Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context

	mutex sync.Mutex
	// complaints are what Chromium's log has: violations of the policy, failed loads, errors
	// of scripts. requests are the addresses of all requests.
	complaints, requests []string
}

// openBrowser sends a token as the password with each request. Empty: it sends none.
func openBrowser(t *testing.T, token string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		testprogram.SkipIfMissing(t, "chromium", errors.Join(testprogram.ErrMissing, err))
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, // root has no sandbox
		chromedp.UserDataDir(t.TempDir()))...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the process
		stop()
	})
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	command(b, cdplog.Enable, cdp.Empty{})
	command(b, network.Enable, network.EnableParams{})
	if token != "" {
		basic := base64.StdEncoding.EncodeToString([]byte("any:" + token))
		command(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Authorization": "Basic " + basic}})
	}
	return b
}

func (b *browser) listen(event any) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// command sends a command of the protocol.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, c, params)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Method, err)
	}
	return result
}

// evaluate is the value of an expression in the page.
func evaluate[T any](b *browser, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *browser) open(url string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatal(err)
	}
}

// text is the text of the first element that a selector finds.
func (b *browser) text(selector string) string {
	b.t.Helper()
	text := evaluate[string](b, `(document.querySelector(`+strconv.Quote(selector)+`) || {textContent: ""}).textContent`)
	return strings.Join(strings.Fields(text), " ")
}

// await waits until an element has a text.
func (b *browser) await(selector, want string) {
	b.t.Helper()
	var text string
	mongotest.Eventually(b.t, patience, func() bool {
		text = b.text(selector)
		return strings.Contains(text, want)
	}, selector, " never has ", want)
}

// mustBeQuiet fails for every complaint, and every request to another server.
func (b *browser) mustBeQuiet(url string) {
	b.t.Helper()
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, complaint := range b.complaints {
		b.t.Errorf("Chromium's log: %s", complaint)
	}
	for _, address := range b.requests {
		// Chromium draws its own controls, such as that of a date, with data: addresses.
		if !strings.HasPrefix(address, url+"/") && !strings.HasPrefix(address, "data:image/svg+xml;base64,") {
			b.t.Errorf("a request to %s", address)
		}
	}
	if len(b.requests) < 4 { // page, style, script, stream
		b.t.Errorf("only these requests were seen: %v", b.requests)
	}
}

// look is a size and a colour scheme of the browser.
type look struct {
	name, scheme  string
	width, height int64
}

var looks = []look{{"light", "light", 1200, 1000}, {"dark", "dark", 1200, 1000}, {"narrow", "light", 390, 844}}

func (b *browser) use(l look) {
	b.t.Helper()
	command(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1})
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}})
}

// picture writes a picture of the page if -screenshots is given: the top in the first look
// for the documents, or with -all the whole page in every look.
func (b *browser) picture(name string, l look) {
	b.t.Helper()
	if *screenshots == "" || !*allLooks && l != looks[0] {
		return
	}
	quality, beyond := int64(60), true
	params := page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality}
	path := filepath.Join(*screenshots, name+".webp")
	if *allLooks {
		params = page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &beyond}
		path = filepath.Join(*screenshots, name+"-"+l.name+".png")
	}
	image := command(b, page.CaptureScreenshot, params)
	if err := os.WriteFile(path, image.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
