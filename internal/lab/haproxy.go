// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// HAProxySettings are what a test may want of its HAProxy.
type HAProxySettings struct {
	PKI       *PKI              // certifies the server and the clients; nil makes one
	Server    driver.Material   // what it shows; none makes one for localhost
	Listeners []HAProxyListener // none is one
	// Clients asks clients for a certificate of the PKI, reads its revocation lists
	// and a list of denied ones, and answers 403 to who shows none.
	Clients   bool
	NoCRL     bool   // reads no revocation lists
	NoDeny    bool   // reads no list of denied certificates
	NoTickets bool   // sessions are resumed from its memory alone
	Protocol  string // the least: "TLSv1.2" unless said otherwise
	NoSocket  bool   // nobody can administer it while it runs
	Global    string // further lines of global
	Frontend  string // further lines of each frontend
	Config    string // further sections
}

// An HAProxyListener is one frontend.
type HAProxyListener struct {
	Own bool // reads the certificate from a file of its own, with the same content
	TCP bool // passes bytes on to Backend
	// Backend is the host:port that everything is passed on to; "" answers by itself.
	Backend string
}

// An HAProxy answers 200 to everybody whom it lets in. Its files are private
// copies, for a test to change. It is a master with a worker, as Debian starts it.
type HAProxy struct {
	*Process
	PKI       *PKI
	Server    driver.Material
	Dir       string
	Config    string
	Addresses []string // host:port, as the listeners of the settings
	PEM       string   // file: certificate with those above it, and the key
	OwnPEMs   []string // of the listeners that have a file of their own, in their order
	ClientCA  string
	CRL       string
	Deny      string // an ACL file of SHA-256, upper-case hex
	Socket    string
	PIDFile   string // of the master
}

// StartHAProxy starts one. It logs a JSON object for each request to its standard
// output, which is Log: status, verify, sha256, resumed, tls.
func StartHAProxy(t TB, s HAProxySettings) *HAProxy {
	t.Helper()
	h := &HAProxy{PKI: s.PKI, Server: s.Server, Dir: OpenDir(t)}
	if h.PKI == nil {
		h.PKI = NewPKI(t)
	}
	if h.Server.Key == nil {
		h.Server = h.PKI.Localhost(t)
	}
	if len(s.Listeners) == 0 {
		s.Listeners = []HAProxyListener{{}}
	}
	both := BundlePEM(t, h.Server)
	h.PEM = write(t, h.Dir, "tls.pem", both)
	h.ClientCA = write(t, h.Dir, "clients.pem", CertificatePEM(h.PKI.Sub.Raw, h.PKI.Root.Raw))
	h.CRL, h.Deny = write(t, h.Dir, "crl.pem", CRLPEM(h.PKI.CRLs(t)...)), write(t, h.Dir, "deny.lst", "")
	h.Socket, h.PIDFile = filepath.Join(h.Dir, "admin.sock"), filepath.Join(h.Dir, "haproxy.pid")
	var frontends strings.Builder
	for i, listener := range s.Listeners {
		h.Addresses = append(h.Addresses, Loopback(FreePort(t)))
		file := h.PEM
		if listener.Own {
			file = write(t, h.Dir, fmt.Sprintf("own%d.pem", i), both)
			h.OwnPEMs = append(h.OwnPEMs, file)
		}
		frontends.WriteString(h.frontend(s, listener, i, file))
	}
	h.Config = write(t, h.Dir, "haproxy.cfg", h.head(s)+frontends.String()+s.Config)
	h.Process = Start(t, h.Dir, nil, []string{Program(t, "haproxy"), "-W", "-db", "-p", h.PIDFile, "-f", h.Config}, h.Addresses...)
	for range 500 { // it takes connections a moment before it has written that
		if info, err := os.Stat(h.PIDFile); err == nil && info.Size() > 0 {
			return h
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("HAProxy writes no %s", h.PIDFile)
	return nil
}

func (h *HAProxy) head(s HAProxySettings) string {
	protocol := s.Protocol
	if protocol == "" {
		protocol = "TLSv1.2"
	}
	text := "global\nlog stdout format raw local1\nnbthread 2\nssl-default-bind-options ssl-min-ver " + protocol + "\n"
	if !s.NoSocket {
		text += "stats socket " + h.Socket + " mode 600 level admin expose-fd listeners\n"
	}
	return text + s.Global + "defaults\nlog global\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\n"
}

func (h *HAProxy) frontend(s HAProxySettings, listener HAProxyListener, i int, file string) string {
	bind := "bind " + h.Addresses[i] + " ssl crt " + file
	if s.NoTickets {
		bind += " no-tls-tickets"
	}
	if s.Clients {
		bind += " ca-file " + h.ClientCA + " verify optional crt-ignore-err all ca-ignore-err all"
		if !s.NoCRL {
			bind += " crl-file " + h.CRL
		}
	}
	mode := "http"
	if listener.TCP {
		mode = "tcp"
	}
	text := fmt.Sprintf("frontend fe%d\nmode %s\n%s\n", i, mode, bind)
	if s.Clients {
		text += h.refusals(s, listener.TCP)
	}
	text += logFormat(listener.TCP) + s.Frontend
	if listener.Backend == "" {
		return text + "http-request return status 200 content-type text/plain string ok\n"
	}
	return text + fmt.Sprintf("default_backend be%d\nbackend be%d\nmode %s\nserver one %s\n", i, i, mode, listener.Backend)
}

func (h *HAProxy) refusals(s HAProxySettings, tcp bool) string {
	deny, who := "http-request deny deny_status 403", "http-request deny deny_status 403 unless { ssl_c_used 1 } { ssl_c_verify 0 }\n"
	if tcp {
		deny, who = "tcp-request content reject", "tcp-request content reject unless { ssl_c_used 1 } { ssl_c_verify 0 }\n"
	}
	if s.NoDeny {
		return who
	}
	return deny + " if { ssl_c_der,sha2(256),hex -f " + h.Deny + " }\n" + who
}

// logFormat is a JSON object a line. A connection that is passed on as bytes has no
// request, and so neither its time nor a status.
func logFormat(tcp bool) string {
	request := `"ts":"%trg","status":%ST,`
	if tcp {
		request = `"ts":"%T",`
	}
	return `log-format '{` + request + `"client":"%ci:%cp","tls":"%sslv","used":%[ssl_c_used],"verify":%[ssl_c_verify],` +
		`"sha256":"%[ssl_c_der,sha2(256),hex]","resumed":%[ssl_fc_is_resumed]}'` + "\n"
}
