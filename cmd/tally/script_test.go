// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallystick/tallystick/internal/lab"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tally": main})
}

// TestScript runs testdata/script, which reads like a manual. Beside the
// commands of testscript there are those below.
func TestScript(t *testing.T) {
	for _, tool := range []string{"openssl", "curl", "script", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the scripts need %s: apt-get install -y --no-install-recommends openssl curl bsdutils util-linux", tool)
		}
	}
	cache, err := os.UserCacheDir() // with what the lab has set up once for all tests
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("XDG_DATA_HOME", "")
			env.Setenv("XDG_CACHE_HOME", cache)
			jar, err := cookiejar.New(nil)
			env.Values[jarKey{}] = jar
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": cmdAwait, "capture": cmdCapture, "http": cmdHTTP, "mute": cmdMute, "port": cmdPort, "secret": cmdSecret, "sql": cmdSQL, "status": cmdStatus, "until": cmdUntil, "uses": cmdUses,
		},
	})
}

type jarKey struct{}

// patience is how long await waits; a machine that runs many tests is slow.
const patience = 90 * time.Second

// cmdAwait waits until a file matches: await FILE REGEXP.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	form := regexp.MustCompile("(?m)" + args[1])
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && form.Match(text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Fatalf("%s did not come to match %q; it has, %v:\n%s", args[0], args[1], err, text)
}

// cmdCapture sets a variable to what a group matches in a file: capture NAME FILE REGEXP.
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture NAME FILE REGEXP")
	}
	text := ts.ReadFile(args[1])
	match := regexp.MustCompile("(?m)" + args[2]).FindStringSubmatch(text)
	if len(match) != 2 {
		ts.Fatalf("%s does not match %q:\n%s", args[1], args[2], text)
	}
	ts.Setenv(args[0], match[1])
}

// cmdHTTP makes a request, follows redirects, and writes status, headers and
// body to standard output: http [-token TOKEN] METHOD URL [BODY]. Cookies are
// kept for the rest of the script.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	token := ""
	if len(args) > 2 && args[0] == "-token" {
		token, args = args[1], args[2:]
	}
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http [-token TOKEN] METHOD URL [BODY]")
	}
	var body io.Reader
	if len(args) == 3 {
		body = strings.NewReader(args[2])
	}
	request, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client(ts).Do(request)
	ts.Check(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	var out bytes.Buffer
	fmt.Fprintf(&out, "status: %d\n", response.StatusCode)
	ts.Check(response.Header.Write(&out))
	_, err = fmt.Fprintf(ts.Stdout(), "%s\n%s\n", out.String(), text)
	ts.Check(err)
	if failed := response.StatusCode >= 400; failed != neg {
		ts.Fatalf("%s %s: %d\n%s", args[0], args[1], response.StatusCode, text)
	}
}

func client(ts *testscript.TestScript) *http.Client {
	return &http.Client{
		Jar: ts.Value(jarKey{}).(http.CookieJar),
		// The certificate is self-signed; up.txt compares its fingerprint.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		Timeout:   30 * time.Second,
	}
}

// cmdMute sets a variable to the address of a server that accepts connections
// and never says anything: mute NAME.
func cmdMute(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mute NAME")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ts.Check(listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close() // with the listener, and not as garbage before
		}
	}()
	ts.Setenv(args[0], listener.Addr().String())
}

// cmdPort sets variables to free ports: port NAME...
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Setenv(name, strconv.Itoa(lab.FreePort(scriptTB{ts})))
	}
}

// A scriptTB is a script for package lab, as far as FreePort needs it.
type scriptTB struct{ *testscript.TestScript }

func (scriptTB) Helper()                {}
func (s scriptTB) Fatal(args ...any)    { s.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Failed() bool         { return false }
func (s scriptTB) Cleanup(clean func()) { s.Defer(clean) }
func (s scriptTB) TempDir() string      { return s.MkAbs(".") }

// cmdSQL changes a SQLite file behind Tallystick's back: sql FILE STATEMENT.
func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(err)
	ts.Check(db.Close())
}

// cmdStatus runs a command that must end with an exit status: status N COMMAND [ARG...].
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%q ended with status %d, want %s; it wrote:\n%s", args[1:], got, args[0], ts.ReadFile("stderr"))
	}
}

// cmdUntil runs a command again and again until its output matches: until REGEXP COMMAND [ARG...].
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND [ARG...]")
	}
	form := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && form.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q did not come to write %q, %v:\n%s%s", args[1:], args[0], err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
