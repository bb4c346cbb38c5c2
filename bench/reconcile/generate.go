// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// A generator makes the same data for the same numbers.
type generator struct {
	r     *rand.Rand
	start time.Time
}

// tenants is how many relying parties there are: the customers of a vendor.
const tenants = 3600

// generate writes both files. Of the sign-ins some are foreign: with a key of the
// holder, from elsewhere, and every second with a correlation id of the holder's.
func generate(holderPath, relyingPath string, n, foreign int) (err error) {
	g := generator{rand.New(rand.NewPCG(1, 2)), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	holder, err := os.Create(holderPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	relying, err := os.Create(relyingPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relying.Close()) }()
	h, r := bufio.NewWriterSize(holder, 1<<20), bufio.NewWriterSize(relying, 1<<20)
	every := max(n/max(foreign, 1), 1)
	stolen := 0
	for i := range n {
		at := g.start.Add(time.Duration(i) * 200 * time.Millisecond)
		tenant := fmt.Sprintf("%08x-0000-4000-8000-%012x", i%tenants, i%tenants)
		key := fmt.Sprintf("7f1d5c1e-6a1f-4d0e-9b5e-%012x", i%3)
		var token [16]byte
		binary.LittleEndian.PutUint64(token[:], g.r.Uint64())
		binary.LittleEndian.PutUint64(token[8:], g.r.Uint64())
		uti, correlation := base64.RawURLEncoding.EncodeToString(token[:]), g.guid()
		if stolen < foreign && i%every == every/2 {
			stolen++
			fmt.Fprintf(r, signIn, g.guid(), at.Format(time.RFC3339Nano), "198.51.100.77", correlation, key, uti, tenant)
			fmt.Fprintln(r)
			if stolen%2 == 0 {
				g.use(h, i, at, key, tenant, g.token(), correlation)
			}
			continue
		}
		g.use(h, i, at, key, tenant, uti, correlation)
		late := at.Add(time.Duration(g.r.IntN(900)) * time.Millisecond)
		fmt.Fprintf(r, signIn, g.guid(), late.Format(time.RFC3339Nano), "203.0.113.7", correlation, key, uti, tenant)
		fmt.Fprintln(r)
	}
	return errors.Join(h.Flush(), r.Flush())
}

func (g *generator) guid() string {
	a, b := g.r.Uint64(), g.r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(a), uint16(a>>32), a>>52, b&0xfff, b>>16)
}

func (g *generator) token() string {
	var token [16]byte
	binary.LittleEndian.PutUint64(token[:], g.r.Uint64())
	return base64.RawURLEncoding.EncodeToString(token[:])
}

func (g *generator) use(w *bufio.Writer, seq int, at time.Time, key, tenant, uti, correlation string) {
	fmt.Fprintf(w, `{"v":1,"source":"broker-eu-1","seq":%d,"side":"holder","level":"token","time":"%s","credential":["entra-key:%s"],`+
		`"holder":"internal-mail-protection","relying_party":"entra:%s/00000003-0000-0000-c000-000000000000","outcome":"success","address":"203.0.113.7",`+
		`"ids":{"uti":"%s","correlation":"%s"}}`+"\n", seq+1, at.Format(time.RFC3339Nano), key, tenant, uti, correlation)
}

// signIn is a sign-in of a service principal with the members that Graph's beta
// endpoint gives, in its order.
const signIn = `{"id":"%s","createdDateTime":"%s","userDisplayName":null,"userPrincipalName":null,"userId":"00000000-0000-0000-0000-000000000000",` +
	`"appId":"6131d760-7fda-4db5-8bb1-b771898e9f15","appDisplayName":"Internal Mail Protection","ipAddress":"%s","ipAddressFromResourceProvider":null,` +
	`"clientAppUsed":null,"userAgent":"","correlationId":"%s","conditionalAccessStatus":"notApplied","originalRequestId":"","isInteractive":false,` +
	`"tokenIssuerName":"","tokenIssuerType":"AzureAD","clientCredentialType":"clientAssertion","processingTimeInMilliseconds":0,"riskDetail":"none",` +
	`"riskLevelAggregated":"none","riskLevelDuringSignIn":"none","riskState":"none","riskEventTypes_v2":[],"resourceDisplayName":"Microsoft Graph",` +
	`"resourceId":"00000003-0000-0000-c000-000000000000","authenticationMethodsUsed":[],"alternateSignInName":null,"signInIdentifier":null,` +
	`"signInIdentifierType":null,"signInEventTypes":["servicePrincipal"],"servicePrincipalId":"b029d485-a308-4311-8720-fb3192e5284e",` +
	`"servicePrincipalName":"Internal Mail Protection","federatedCredentialId":null,"userType":null,"flaggedForReview":false,"isTenantRestricted":false,` +
	`"autonomousSystemNumber":64500,"crossTenantAccessType":"none","servicePrincipalCredentialKeyId":"%s","servicePrincipalCredentialThumbprint":"",` +
	`"uniqueTokenIdentifier":"%s","incomingTokenType":"none","authenticationProtocol":"none","resourceTenantId":"%s","homeTenantId":null,` +
	`"status":{"errorCode":0,"failureReason":"Other.","additionalDetails":null},` +
	`"deviceDetail":{"deviceId":"","displayName":null,"operatingSystem":null,"browser":null,"isCompliant":null,"isManaged":null,"trustType":null},` +
	`"location":{"city":"Frankfurt am Main","state":"Hessen","countryOrRegion":"DE","geoCoordinates":{"altitude":null,"latitude":50.1109,"longitude":8.6821}},` +
	`"mfaDetail":null,"appliedConditionalAccessPolicies":[],"authenticationProcessingDetails":[{"key":"Azure AD App Authentication Library","value":"Family: MSAL Library: MSAL.NET 4.54.1.0 Platform: .NET 8"}],` +
	`"networkLocationDetails":[],"authenticationDetails":[],"authenticationRequirementPolicies":[],"sessionLifetimePolicies":[],"privateLinkDetails":{}}`
