// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/netip"
	"time"
)

// Fill enters n successful sign-ins of an application at one of Microsoft's APIs, with its
// first key or secret, as if they had happened at even distances from one time to before
// another: for tests that need more of them than anybody has time to make over HTTP. A record
// can be read after the drawn latency, and hooks are told.
func (t *Tenant) Fill(app App, apiID string, n int, from, to time.Time) {
	api, owner := apiOf(apiID), app.Application.owner
	with := credentialUsed{kind: "none"}
	for _, s := range []State{app.Principal.State(), app.Application.State()} {
		if len(s.Secrets) > 0 {
			with = credentialUsed{kind: "clientSecret", keyID: s.Secrets[0].KeyID}
		}
		if len(s.Keys) > 0 {
			with = credentialUsed{kind: "clientAssertion", keyID: s.Keys[0].KeyID, thumbprint: s.Keys[0].cert.thumbprint}
		}
	}
	resource := t.Principal(api.appID)
	who := t.party(party{
		appID: app.Application.AppID, principalID: app.Principal.ID, name: app.Principal.State().DisplayName, owner: owner,
		resource: api.appID, resourceName: api.name, resourceSPN: resource.ID,
	})
	used, client := t.credential(with), t.world.agent("azsdk-go-azidentity/v1.15.0", "MSAL.Go", "1.10.1")
	address := PublicAddress(netip.MustParseAddr("127.0.0.1"))
	step := to.Sub(from) / time.Duration(max(n, 1))
	for i := range n {
		t.record(signIn{
			at: from.Add(time.Duration(i) * step).UnixNano(), id: t.world.guid(), corr: t.world.guid(), uti: t.world.guid(),
			address: address, agent: client, who: who, with: used,
		})
	}
}
