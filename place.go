// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// A Place is where a credential is kept, shown or accepted. Its scheme says
// what kind of place it is and thereby which driver looks there:
//
//	file:///etc/nginx/tls.pem          a file on this machine
//	tls://127.1.0.7:8443               a TLS endpoint
//	quic://127.1.0.7:443               the same over QUIC
//	truststore:///etc/ssl/certs        a set of trusted certificates
//	ssh://10.0.0.5:22                  an SSH server
//	metadata://idp.example/saml        SAML metadata or an OpenID key set; metadata:///path in a file
//	entra://TENANT/applications/ID     an object of a tenant of Microsoft Entra ID
//	ad://lab.test/CN=web1,DC=lab,DC=test   an object of a domain of Active Directory
//	ldap://10.0.0.5:636/uid=web1,dc=lab    an entry of another directory
//
// Places compare as strings; make them with the functions below.
type Place string

// FilePlace returns the place of an absolute path.
func FilePlace(path string) Place { return Place((&url.URL{Scheme: "file", Path: path}).String()) }

// TrustStorePlace returns the place of a trust store at an absolute path.
func TrustStorePlace(path string) Place {
	return Place((&url.URL{Scheme: "truststore", Path: path}).String())
}

// TLSPlace returns the place of a TLS endpoint; hostport is as net.JoinHostPort makes it.
func TLSPlace(hostport string) Place { return Place("tls://" + hostport) }

// QUICPlace returns the place of an endpoint of TLS over QUIC; hostport is as net.JoinHostPort makes it.
func QUICPlace(hostport string) Place { return Place("quic://" + hostport) }

// SSHPlace returns the place of an SSH server; hostport is as net.JoinHostPort makes it.
func SSHPlace(hostport string) Place { return Place("ssh://" + hostport) }

// EntraPlace returns the place of an object of a tenant of Microsoft Entra ID, by its kind as
// Microsoft Graph calls it ("applications", "servicePrincipals") and its object id.
func EntraPlace(tenant, kind, id string) Place {
	return Place("entra://" + tenant + "/" + kind + "/" + id)
}

// Scheme returns what stands before "://".
func (p Place) Scheme() string {
	scheme, _, _ := strings.Cut(string(p), "://")
	return scheme
}

// Path returns the path of a place that has one, without escapes, or "".
func (p Place) Path() string {
	u, err := url.Parse(string(p))
	if err != nil {
		return ""
	}
	return u.Path
}

// HostPort returns the host of a place in a network, without brackets, and its
// port, "" where it names none. Of a place on this machine both are "".
func (p Place) HostPort() (host, port string) {
	_, rest, ok := strings.Cut(string(p), "://")
	if !ok {
		return "", ""
	}
	hostport, _, _ := strings.Cut(rest, "/")
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return strings.Trim(hostport, "[]"), ""
	}
	return host, port
}

// Addr returns the address of a place whose host is one and no name. An IPv4
// address that is written as IPv6 is returned as IPv4.
func (p Place) Addr() (netip.Addr, bool) {
	host, _ := p.HostPort()
	address, err := netip.ParseAddr(host)
	return address.Unmap(), err == nil
}

// Within says whether p is q or lies beneath it.
func (p Place) Within(q Place) bool {
	rest, ok := strings.CutPrefix(string(p), string(q))
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(string(q), "/"))
}

// A Role says what a credential does at a place.
type Role string

const (
	RoleHolds    Role = "holds"    // the private half is here
	RolePresents Role = "presents" // the public half is kept or shown here
	RoleAccepts  Role = "accepts"  // who has the private half is let in or believed here
)

// A Sighting is a credential seen at a place at a time, by a driver.
type Sighting struct {
	Credential Credential `json:"credential"`
	Place      Place      `json:"place"`
	Role       Role       `json:"role"`
	Seen       time.Time  `json:"seen"`
	// Chain holds the further certificates that were served with the
	// credential, in the order of the wire, without the credential itself.
	Chain []Credential `json:"chain,omitempty"`
	Facts
}

// Further returns the certificates of the chain as sightings of their own at
// the same place.
func (s *Sighting) Further() []Sighting {
	var list []Sighting
	for n, c := range s.Chain {
		further := Sighting{Credential: c, Place: s.Place, Role: s.Role, Seen: s.Seen}
		if s.TLS != nil {
			further.TLS = &TLSFacts{ServerName: s.TLS.ServerName, Evidence: EvidenceSeen, Position: n + 1}
		}
		list = append(list, further)
	}
	return list
}

// Facts are what a driver noticed at the place beside the credential. They are
// stored as JSON: additions only.
type Facts struct {
	TLS   *TLSFacts   `json:"tls,omitempty"`
	File  *FileFacts  `json:"file,omitempty"`
	SSH   *SSHFacts   `json:"ssh,omitempty"`
	Entra *EntraFacts `json:"entra,omitempty"`

	Account *AccountFacts `json:"account,omitempty"`
}

// An Evidence level says how much a sighting at an endpoint proves.
type Evidence string

const (
	EvidenceSeen     Evidence = "seen"     // presented; possession of the key was not shown
	EvidenceProven   Evidence = "proven"   // a signature by its key was checked in the handshake
	EvidenceVerified Evidence = "verified" // proven, and chain and name are good for this machine
)

// TLSFacts describe an endpoint that served a certificate. What an endpoint
// accepts stands with the certificate that it shows first.
type TLSFacts struct {
	ServerName string `json:"server_name,omitempty"` // what was asked for by SNI or by address
	Address    string `json:"address,omitempty"`     // that answered, where the place is a name
	StartTLS   string `json:"start_tls,omitempty"`   // protocol that was spoken first: "smtp", "ldap", "postgres" ...
	Depth      Depth  `json:"depth,omitempty"`       // how much was asked

	Protocols []string `json:"protocols,omitempty"` // "ssl3", "tls1.0" ... "tls1.3": accepted ones, as far as tried
	Suites    []string `json:"suites,omitempty"`    // IANA names of accepted or chosen suites
	// Order holds the accepted suites of each protocol as the server prefers
	// them; only DepthSuites fills it.
	Order  map[string][]string `json:"order,omitempty"`
	Group  string              `json:"group,omitempty"`  // key exchange group that was chosen
	Groups []string            `json:"groups,omitempty"` // IANA names of accepted groups, as far as tried
	ALPN   []string            `json:"alpn,omitempty"`   // accepted application protocols, as far as tried

	// ClientAuth says whether the endpoint asks for a client certificate:
	// "requested", "none", or "" where it was not told; ClientCAs names the
	// issuers that it takes, RFC 4514 style.
	ClientAuth string   `json:"client_auth,omitempty"`
	ClientCAs  []string `json:"client_cas,omitempty"`
	// Staple is the OCSP response that came along (RFC 6066 section 8): "good",
	// "revoked", "unknown", "expired", "malformed", "none", or "" when none was asked for.
	Staple string `json:"staple,omitempty"`

	Evidence    Evidence      `json:"evidence,omitempty"`
	VerifyError string        `json:"verify_error,omitempty"` // why chain or name are not good for this machine
	Chain       []Fingerprint `json:"chain,omitempty"`        // as served, the leaf first
	Position    int           `json:"position,omitempty"`     // of this certificate in Chain; 0 is the leaf
	Process     string        `json:"process,omitempty"`      // local program that listens, where it could be told
}

// A Depth says how much an endpoint is asked.
type Depth string

const (
	DepthCertificate Depth = "certificate" // the certificates alone
	DepthVersions    Depth = "versions"    // and versions, groups, and whether it takes weak suites
	DepthSuites      Depth = "suites"      // and every suite of every version
)

// FileFacts describe a file that a credential was read from.
type FileFacts struct {
	Format string `json:"format,omitempty"` // "pem", "der", "pkcs7", "pkcs8", "pkcs12", "jks", "jceks", "openssh", "authorized_keys", "known_hosts", "kubeconfig", "saml", "jwks"
	Alias  string `json:"alias,omitempty"`  // name of a keystore entry; entity or key id of a metadata document
	Mode   string `json:"mode,omitempty"`   // octal permission bits, "0600"
	Owner  string `json:"owner,omitempty"`  // user name, or "uid:1234"
	Group  string `json:"group,omitempty"`
	// Private says that the private half is in the file; Passphrase that
	// it cannot be used without one; WeakPassphrase that a well-known one opens it.
	Private        bool `json:"private,omitempty"`
	Passphrase     bool `json:"passphrase,omitempty"`
	WeakPassphrase bool `json:"weak_passphrase,omitempty"`
	// Readers says who beside its owner may read the file: "group:ssl-cert", "everybody".
	Readers []string `json:"readers,omitempty"`
	// UsedBy names the services whose configuration points at this file.
	UsedBy []Usage `json:"used_by,omitempty"`
	Links  int     `json:"links,omitempty"` // number of symbolic links that led here beside the file itself
}

// A Usage is one service that a configuration file ties to a credential's file.
type Usage struct {
	Service string `json:"service"`          // "nginx", "postfix" ...
	Config  string `json:"config,omitempty"` // path of the configuration file
	Line    int    `json:"line,omitempty"`
	As      string `json:"as,omitempty"` // "certificate", "key", "client-ca", "ca"
}

// SSHFacts describe where SSH keys are known, accepted or shown.
type SSHFacts struct {
	Account  string   `json:"account,omitempty"`        // account that an authorized_keys line opens
	Options  []string `json:"options,omitempty"`        // options of the line, as written
	Hosts    []string `json:"hosts,omitempty"`          // names of a known_hosts line, hashed ones as "|1|..."
	CertAuth bool     `json:"cert_authority,omitempty"` // the line trusts a CA, not a key
	Line     int      `json:"line,omitempty"`
	Comment  string   `json:"comment,omitempty"`

	// What a server showed and offered (RFC 4253), names as on the wire.
	Software   string   `json:"software,omitempty"` // its identification string
	Address    string   `json:"address,omitempty"`  // that answered, where the place is a name
	HostKeys   []string `json:"host_keys,omitempty"`
	Exchanges  []string `json:"exchanges,omitempty"`
	Ciphers    []string `json:"ciphers,omitempty"` // from server to client, and back where they differ
	MACs       []string `json:"macs,omitempty"`
	Signatures []string `json:"signatures,omitempty"` // algorithms that this key signs with there
	Evidence   Evidence `json:"evidence,omitempty"`
}

// EntraFacts describe whom a credential signs in as at a tenant of Microsoft Entra ID, and
// what that opens: one side of a connection.
type EntraFacts struct {
	Application string `json:"application"`      // client id
	Name        string `json:"name,omitempty"`   // display name of the application
	KeyID       string `json:"key_id,omitempty"` // of the credential there; sign-in logs name it by that
	// Form is "certificate", "secret", "federated", "key", or "elsewhere": the credentials of an
	// application of another tenant are not shown.
	Form string `json:"form"`
	// Home is the tenant that the application belongs to, where it is another one.
	Home string `json:"home,omitempty"`
	// FirstParty says that the application is one of Microsoft's own.
	FirstParty bool `json:"first_party,omitempty"`
	Disabled   bool `json:"disabled,omitempty"` // nobody can sign in as it
	// Owners may add credentials to it: user names, or names of applications.
	Owners []string `json:"owners,omitempty"`
	Grants []Grant  `json:"grants,omitempty"`
	// Issuer, Subject and Audiences of a federated credential: whoever has a token with them gets in.
	Issuer    string   `json:"issuer,omitempty"`
	Subject   string   `json:"subject,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
}

// A Grant is a permission that is carried by a connection.
type Grant struct {
	Resource string `json:"resource"` // display name of what it is for: "Microsoft Graph"
	Name     string `json:"name"`     // "Mail.Read", "full_access_as_app"
	Opens    string `json:"opens"`    // in words: "reads every mailbox of the tenant"
	// Delegated grants open what the person may who uses the application; For is "everybody"
	// or "some people".
	Delegated bool   `json:"delegated,omitempty"`
	For       string `json:"for,omitempty"`
}

// A Miss is a place where a driver looked and could not see: it is never
// silently dropped, and nothing beneath it is taken for gone.
type Miss struct {
	Place  Place     `json:"place"`
	Error  string    `json:"error"` // one word: "refused", "timeout", "not-tls", "denied", "too-large", "malformed", ...
	Detail string    `json:"detail,omitempty"`
	Seen   time.Time `json:"seen"`
}
