// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/spiffe"
)

// asWorkload, in the environment, makes the test binary a workload: a process of its own
// that serves or calls by mutual TLS with what go-spiffe gets from the socket.
const asWorkload = "TALLY_TEST_WORKLOAD"

func TestMain(m *testing.M) {
	if os.Getenv(asWorkload) == "leave" { // connect, and be gone
		if _, err := net.Dial("unix", os.Args[1]); err != nil {
			os.Exit(1)
		}
		return
	}
	if role := os.Getenv(asWorkload); role != "" {
		if err := beWorkload(role, os.Args[1], os.Args[2]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// beWorkload is the workload: "server" listens and says where; "client" calls.
func beWorkload(role, socket, argument string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+socket)))
	if err != nil {
		return err
	}
	defer source.Close()
	anybody := tlsconfig.AuthorizeMemberOf(spiffeid.RequireTrustDomainFromString("lab.example"))
	if role == "client" {
		c, err := tls.Dial("tcp", argument, tlsconfig.MTLSClientConfig(source, source, anybody))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.Copy(os.Stdout, c)
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(source, source, anybody))
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	c, err := listener.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.(*tls.Conn).HandshakeContext(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c, "hello,", c.(*tls.Conn).ConnectionState().PeerCertificates[0].URIs[0])
	return err
}

// A lab is a running Workload API.
type lab struct {
	*catest.Lab
	socket string
	me     uint32
	id     spiffeid.ID
}

// newLab serves the workloads; without any, this user is spiffe://lab.example/me.
func newLab(t *testing.T, workloads ...spiffe.Workload) *lab {
	t.Helper()
	l := &lab{Lab: catest.New(t), socket: filepath.Join(t.TempDir(), "s"), me: uint32(os.Getuid()), id: spiffeid.RequireFromString("spiffe://lab.example/me")}
	l.Init(t, ca.InitRequest{Name: "root"})
	l.Init(t, ca.InitRequest{Name: "mesh", Parent: "root"})
	if len(workloads) == 0 {
		workloads = []spiffe.Workload{{ID: l.id, User: &l.me}}
	}
	l.serve(t, workloads)
	return l
}

func (l *lab) serve(t *testing.T, workloads []spiffe.Workload) {
	t.Helper()
	server := spiffe.New(spiffe.Config{
		CA: l, Gate: gate.New(l.Audit, time.Now), Socket: l.socket, Authority: "mesh", Workloads: workloads, Now: time.Now, Look: 50 * time.Millisecond,
		Failed: func(err error) { t.Log("failed:", err) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if _, err := os.Stat(l.socket); err == nil {
			t.Error("the socket is still there")
		}
	})
	for range 200 {
		if info, err := os.Stat(l.socket); err == nil && info.Mode().Perm() == 0o666 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("there is no socket")
}

// updates follows what go-spiffe is told.
type updates chan *workloadapi.X509Context

func (u updates) OnX509ContextUpdate(c *workloadapi.X509Context) { u <- c }
func (u updates) OnX509ContextWatchError(error)                  {}

// watch returns what this process is told, until the test ends.
func (l *lab) watch(t *testing.T) updates {
	t.Helper()
	u := make(updates, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = workloadapi.WatchX509Context(ctx, u, workloadapi.WithAddr("unix://"+l.socket)) // ends with the test
	}()
	t.Cleanup(func() { cancel(); <-done })
	return u
}

func (u updates) next(t *testing.T) *workloadapi.X509Context {
	t.Helper()
	select {
	case c := <-u:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
		return nil
	}
}

// Two processes of different identities talk by mutual TLS: the SVIDs are whole,
// and each trusts the other.
func TestMutualTLSBetweenProcesses(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	workload := func(role, argument string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, l.socket, argument)
		cmd.Env = append(os.Environ(), asWorkload+"="+role)
		return cmd
	}
	server := workload("server", "")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	said, err := workload("client", strings.TrimSpace(address)).CombinedOutput()
	if err != nil || string(said) != "hello, spiffe://lab.example/me\n" {
		t.Errorf("%v: %s", err, said)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

// What go-spiffe gets: one identity under an intermediate CA, and the root to trust.
func TestIdentity(t *testing.T) {
	l := newLab(t)
	got := l.watch(t).next(t)
	one := got.DefaultSVID()
	if len(got.SVIDs) != 1 || one.ID != l.id || len(one.Certificates) != 2 {
		t.Fatalf("%d identities, %s with %d certificates", len(got.SVIDs), one.ID, len(one.Certificates))
	}
	bundle, err := got.Bundles.GetX509BundleForTrustDomain(l.id.TrustDomain())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, root := range bundle.X509Authorities() {
		roots.AddCert(root)
	}
	below := x509.NewCertPool()
	below.AddCert(one.Certificates[1])
	if _, err := one.Certificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: below, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	kept, err := l.Find(t.Context(), serialOf(one.Certificates[0]))
	if err != nil || kept.Via != ca.ViaSPIFFE || kept.Requester != l.id.String() {
		t.Errorf("%+v %v", kept, err)
	}
	bundles, err := workloadapi.FetchX509Bundles(t.Context(), workloadapi.WithAddr("unix://"+l.socket))
	if err != nil || bundles.Len() != 1 {
		t.Errorf("%v %v", bundles, err)
	}
}

func serialOf(c *x509.Certificate) ca.Serial { return ca.Serial(fmt.Sprintf("%032x", c.SerialNumber)) }

// An identity of seconds is replaced before it ends, with another key.
func TestRotation(t *testing.T) {
	me := uint32(os.Getuid())
	l := newLab(t, spiffe.Workload{ID: spiffeid.RequireFromString("spiffe://lab.example/short"), User: &me, Lifetime: 3 * time.Second})
	u := l.watch(t)
	first := u.next(t).DefaultSVID().Certificates[0]
	began := time.Now()
	second := u.next(t).DefaultSVID().Certificates[0]
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("the next came after %s of 3s", waited)
	}
	if string(first.RawSubjectPublicKeyInfo) == string(second.RawSubjectPublicKeyInfo) {
		t.Error("the key is the same")
	}
	kept, err := l.Find(t.Context(), serialOf(second))
	if err != nil || kept.Replaces != serialOf(first) {
		t.Errorf("%+v %v", kept, err)
	}
}

// A recall and a rollover of the CA reach a running workload at once.
func TestPush(t *testing.T) {
	l := newLab(t)
	u := l.watch(t)
	first := u.next(t).DefaultSVID().Certificates[0]
	if _, err := l.Revoke(t.Context(), catest.Admin, ca.RevokeRequest{Serials: []ca.Serial{serialOf(first)}, Reason: ca.Superseded}); err != nil {
		t.Fatal(err)
	}
	second := u.next(t).DefaultSVID().Certificates[0]
	if serialOf(first) == serialOf(second) {
		t.Error("a revoked identity is sent again")
	}
}

// A rollover reaches a running workload step by step: it trusts a new root before anything
// is signed under it, gets its next identity when another CA signs, and drops a root that
// is distrusted.
func TestRollover(t *testing.T) {
	l := newLab(t)
	u := l.watch(t)
	roots := func(c *workloadapi.X509Context) int {
		bundle, err := c.Bundles.GetX509BundleForTrustDomain(l.id.TrustDomain())
		if err != nil {
			t.Fatal(err)
		}
		return len(bundle.X509Authorities())
	}
	must := func(_ ca.Authority, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first := u.next(t)
	must(l.Prepare(t.Context(), catest.Admin, "root", ""))
	prepared := u.next(t)
	if roots(first) != 1 || roots(prepared) != 2 || !prepared.DefaultSVID().Certificates[0].Equal(first.DefaultSVID().Certificates[0]) {
		t.Errorf("%d roots, then %d", roots(first), roots(prepared))
	}
	must(l.Prepare(t.Context(), catest.Admin, "mesh", ""))
	must(l.Activate(t.Context(), catest.Admin, "mesh"))
	next := u.next(t).DefaultSVID().Certificates
	if got := next[0].Issuer.CommonName; got != "mesh G2" {
		t.Errorf("the next identity is by %s", got)
	}
	must(l.Distrust(t.Context(), catest.Admin, "root-g2", true))
	if n := roots(u.next(t)); n != 1 {
		t.Errorf("%d roots when one is distrusted", n)
	}
}

// Who is whom: each entry of the configuration that this process is, or is not.
func TestAttestation(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	digest := strings.ToUpper(hex.EncodeToString(sum[:]))
	me, group, other := uint32(os.Getuid()), uint32(os.Getgid()), uint32(54321)
	id := func(name string) spiffeid.ID { return spiffeid.RequireFromString("spiffe://lab.example/" + name) }
	l := newLab(t,
		spiffe.Workload{ID: id("user"), User: &me},
		spiffe.Workload{ID: id("group"), Group: &group},
		spiffe.Workload{ID: id("path"), User: &me, Path: self},
		spiffe.Workload{ID: id("digest"), SHA256: digest},
		spiffe.Workload{ID: id("all"), User: &me, Group: &group, Path: self, SHA256: digest},
		spiffe.Workload{ID: id("not-user"), User: &other, Path: self},
		spiffe.Workload{ID: id("not-group"), Group: &other},
		spiffe.Workload{ID: id("not-path"), User: &me, Path: "/bin/sh"},
		spiffe.Workload{ID: id("not-digest"), User: &me, SHA256: strings.Repeat("0", 64)},
		spiffe.Workload{ID: id("nothing")},
	)
	var got []string
	for _, one := range l.watch(t).next(t).SVIDs {
		got = append(got, strings.TrimPrefix(one.ID.Path(), "/"))
	}
	if want := "user group path digest all"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// raw calls the API without go-spiffe's client.
func raw(t *testing.T, l *lab) workload.SpiffeWorkloadAPIClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+l.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return workload.NewSpiffeWorkloadAPIClient(conn)
}

func TestStrangers(t *testing.T) {
	nobody := uint32(54321)
	l := newLab(t, spiffe.Workload{ID: spiffeid.RequireFromString("spiffe://lab.example/x"), User: &nobody})
	client := raw(t, l)
	fetch := func(ctx context.Context) codes.Code {
		stream, err := client.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		return status.Code(err)
	}
	if code := fetch(t.Context()); code != codes.InvalidArgument {
		t.Error("without the header:", code)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true")
	if code := fetch(ctx); code != codes.PermissionDenied {
		t.Error("without an entry:", code)
	}
	stream, err := client.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if code := status.Code(err); code != codes.PermissionDenied {
		t.Error("bundles without an entry:", code)
	}
	var refused []string
	for _, r := range l.Audit.Records() {
		if !r.Allowed && r.Via == "spiffe" {
			refused = append(refused, r.Object)
		}
	}
	if want := fmt.Sprintf("process %d of user %d", os.Getpid(), os.Getuid()); len(refused) != 2 || !strings.HasPrefix(refused[0], want) {
		t.Errorf("on record is %q, want %q", refused, want)
	}
}

// A program that connects again and again does not fill the store.
func TestBudget(t *testing.T) {
	l := newLab(t)
	client := raw(t, l)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true")
	last := codes.OK
	for range 200 {
		one, cancel := context.WithCancel(ctx)
		stream, err := client.FetchX509SVID(one, &workload.X509SVIDRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		cancel()
		if last = status.Code(err); last != codes.OK {
			break
		}
	}
	if last != codes.ResourceExhausted {
		t.Error(last)
	}
}

func TestSocket(t *testing.T) {
	l := newLab(t)
	second := spiffe.New(spiffe.Config{CA: l, Gate: gate.New(l.Audit, time.Now), Socket: l.socket, Now: time.Now})
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error("a second server on one socket:", err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "is no socket", filepath.Join(dir, "none", "s"): "couldn't listen", filepath.Join(dir, strings.Repeat("x", 108)): "at most 107"} {
		err := spiffe.New(spiffe.Config{CA: l, Socket: path, Now: time.Now}).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	stale := filepath.Join(dir, "stale")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false) // as a kill would
	_ = listener.Close()
	l.socket = stale
	l.serve(t, []spiffe.Workload{{ID: l.id, User: &l.me}})
	l.watch(t).next(t)
}
