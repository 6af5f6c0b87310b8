# ruff: noqa: E501 - the table has one brand a line
"""Well-known names that phishing borrows: how people write them, and the domains that are really theirs.

A message that calls itself by one of these names, and neither comes from nor leads to one of its domains, borrows it. The
table is a help for guesses, not a list of anybody's guilt; names that are common words are left out, or written so
that they are not taken for the word. A domain stands for everything below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import attrs
import re2

from smtpgate.examine.skeleton import AROUND, skeleton

#: Names, "|" between spellings, and domains; "~house.de" stands for houses of one name, each with a domain of its own.
_TABLE: Final = """
paypal | pay pal = paypal.com paypal.de paypal.co.uk paypal-communication.com paypal.me
amazon | amazon prime | amazon.com = amazon.com amazon.co.uk amazon.de amazon.fr amazon.it amazon.es amazon.ca amazon.co.jp amazon.in amazon.com.au amazon.com.br amazon.nl amazonaws.com amazonses.com primevideo.com awstrack.me a2z.com media-amazon.com ssl-images-amazon.com
microsoft | microsoft 365 | office 365 | office365 | onedrive | sharepoint | microsoft teams | outlook team | microsoft account = microsoft.com microsoftonline.com office.com office365.com live.com outlook.com sharepoint.com onedrive.com windows.com msn.com azure.com skype.com bing.com aka.ms microsoft365.com hotmail.com office.net windows.net
apple id | icloud | apple support | itunes | app store = apple.com icloud.com itunes.com me.com mzstatic.com apple.co
google | gmail | google drive | google workspace | google play = google.com gmail.com googlemail.com youtube.com goo.gl googleusercontent.com google.de google.co.uk google.fr g.co gstatic.com withgoogle.com googleapis.com
facebook | meta business | meta for business | instagram = facebook.com facebookmail.com instagram.com meta.com fb.com metamail.com whatsapp.com fbcdn.net
whatsapp = whatsapp.com whatsapp.net
netflix = netflix.com netflix.net nflxext.com
linkedin = linkedin.com licdn.com lnkd.in
twitter = twitter.com x.com t.co
dropbox = dropbox.com dropboxmail.com dropboxapi.com
docusign = docusign.com docusign.net
adobe | adobe sign | acrobat sign = adobe.com adobesign.com echosign.com adobe.io
spotify = spotify.com scdn.co
ebay = ebay.com ebay.de ebay.co.uk ebay.fr ebay.it ebaystatic.com reply.ebay.com
alibaba | aliexpress = alibaba.com aliexpress.com alipay.com
walmart = walmart.com
costco = costco.com costco.ca
best buy | geek squad = bestbuy.com geeksquad.com
home depot | homedepot = homedepot.com
lowe's | lowes = lowes.com
ikea = ikea.com
lidl = lidl.de lidl.com lidl.fr lidl.it lidl.es lidl.co.uk
aldi = aldi.de aldi.com aldi-sued.de aldi-nord.de aldi.co.uk
carrefour = carrefour.fr carrefour.com carrefour.it carrefour.es
decathlon = decathlon.com decathlon.fr decathlon.de
zalando = zalando.de zalando.com zalando.fr zalando.it zalando.nl
mediamarkt | media markt = mediamarkt.de mediamarkt.es mediamarkt.nl mediamarktsaturn.com
shein = shein.com sheingroup.com
temu = temu.com temuemail.com
yeti = yeti.com
dewalt = dewalt.com
makita = makita.com makita.de makita.it makitatools.com
stanley tumbler = stanley1913.com
starbucks = starbucks.com
mcdonald's | mcdonalds = mcdonalds.com
dhl = dhl.com dhl.de dhl.fr dhl.it dhl.es dhl-news.com dhlparcel.nl deutschepost.de
fedex = fedex.com
ups express | ups delivery | united parcel service = ups.com
usps | u.s. postal service | us postal service = usps.com
royal mail = royalmail.com
la poste | colissimo | chronopost = laposte.fr laposte.net chronopost.fr colissimo.fr
correos = correos.es correos.com
poste italiane | postepay | bancoposta = poste.it posteitaliane.it
postnl = postnl.nl postnl.post
bpost = bpost.be
swiss post | die post = post.ch
australia post | auspost = auspost.com.au
canada post = canadapost.ca canadapost-postescanada.ca
gls paket | gls italy = gls-group.eu gls-group.com gls-pakete.de
dpd = dpd.com dpd.de dpd.co.uk dpd.fr dpdgroup.com
evri | hermes parcel = evri.com myhermes.co.uk hermesworld.com
bank of america = bankofamerica.com bofa.com
wells fargo = wellsfargo.com wf.com
chase bank | jpmorgan chase | chase online = chase.com jpmorgan.com jpmorganchase.com
citibank | citi bank = citi.com citibank.com
capital one = capitalone.com
american express | amex = americanexpress.com aexp.com amex.com
mastercard = mastercard.com
visa card | verified by visa = visa.com
us bank | u.s. bank = usbank.com
pnc bank = pnc.com
td bank | td canada trust = td.com tdbank.com
rbc royal bank | royal bank of canada = rbc.com royalbank.com
scotiabank = scotiabank.com
bmo bank = bmo.com
cibc = cibc.com
hsbc = hsbc.com hsbc.co.uk hsbc.com.hk
barclays = barclays.com barclays.co.uk
lloyds bank = lloydsbank.com lloydsbank.co.uk
natwest = natwest.com
santander = santander.com santander.co.uk bancosantander.es santander.com.br santander.pt santander.de
nationwide building society = nationwide.co.uk
monzo = monzo.com
revolut = revolut.com
wise payments | transferwise = wise.com transferwise.com
n26 = n26.com
ing bank | ing-diba = ing.com ing.de ing.nl ing.es ing.it
rabobank = rabobank.nl rabobank.com
abn amro = abnamro.nl abnamro.com
deutsche bank = deutsche-bank.de db.com
commerzbank = commerzbank.de commerzbank.com
sparkasse | s-pushtan = sparkasse.de sparkassen.de dsv-gruppe.de ~sparkasse.de
volksbank | vr bank | raiffeisenbank = vr.de volksbank.de raiffeisen.ch raiffeisen.at vb.de ~volksbank.de ~raiffeisenbank.de ~volksbank.at ~vr.de
postbank = postbank.de
dkb bank = dkb.de
comdirect = comdirect.de
consorsbank = consorsbank.de
targobank = targobank.de
bnp paribas = bnpparibas.com bnpparibas.net mabanque.bnpparibas bnpparibas.fr
societe generale | société générale = societegenerale.fr societegenerale.com sg.fr
credit agricole | crédit agricole = credit-agricole.fr ca-paris.fr
credit mutuel | crédit mutuel = creditmutuel.fr
caisse d'epargne | caisse d'épargne = caisse-epargne.fr
banque populaire = banquepopulaire.fr
boursorama | boursobank = boursorama.com boursobank.com
intesa sanpaolo = intesasanpaolo.com
unicredit = unicredit.it unicredit.eu unicreditgroup.eu
bbva = bbva.com bbva.es bbva.mx
caixabank = caixabank.es caixabank.com
bradesco = bradesco.com.br
itau | itaú = itau.com.br itau-unibanco.com.br
banco do brasil = bb.com.br
nubank = nubank.com.br
caixa economica | caixa econômica = caixa.gov.br
livelo = livelo.com.br
serasa = serasa.com.br serasaexperian.com.br
mercado pago | mercado livre | mercado libre = mercadopago.com mercadopago.com.br mercadolivre.com.br mercadolibre.com
ubs = ubs.com
credit suisse = credit-suisse.com
postfinance = postfinance.ch
commonwealth bank | commbank = commbank.com.au cba.com.au
westpac = westpac.com.au
anz bank = anz.com anz.com.au
nab bank | national australia bank = nab.com.au
standard bank = standardbank.co.za
absa = absa.co.za absa.africa
fnb bank = fnb.co.za
state bank of india | sbi bank = sbi.co.in onlinesbi.sbi sbi.bank.in
hdfc bank = hdfcbank.com hdfcbank.net
icici bank = icicibank.com
rakuten = rakuten.co.jp rakuten.com rakuten-card.co.jp
mitsubishi ufj | mufg = mufg.jp bk.mufg.jp
smbc = smbc.co.jp smbc-card.com
binance = binance.com
coinbase = coinbase.com
kraken = kraken.com
metamask | meta mask = metamask.io consensys.io
trust wallet | trustwallet = trustwallet.com
ledger wallet | ledger live = ledger.com
trezor = trezor.io
blockchain.com = blockchain.com
crypto.com = crypto.com
bitpanda = bitpanda.com
norton | norton 360 | lifelock | nortonlifelock = norton.com nortonlifelock.com lifelock.com gendigital.com
mcafee = mcafee.com
avast = avast.com
kaspersky = kaspersky.com
bitdefender = bitdefender.com
godaddy = godaddy.com secureserver.net
ovh | ovhcloud = ovh.com ovh.net ovhcloud.com
ionos | 1&1 = ionos.com ionos.de ionos.co.uk 1und1.de
strato = strato.de strato.com
cpanel = cpanel.net cpanel.com
wordpress = wordpress.com wordpress.org automattic.com
wix = wix.com
namecheap = namecheap.com
zoom meeting | zoom.us = zoom.us zoom.com
webex = webex.com cisco.com
slack workspace = slack.com
wetransfer = wetransfer.com
intuit | quickbooks | turbotax = intuit.com quickbooks.com turbotax.com
xero = xero.com
stripe payments = stripe.com
klarna = klarna.com klarna.de klarna.se
venmo = venmo.com
cash app | cashapp = cash.app square.com squareup.com
zelle = zellepay.com
western union = westernunion.com
moneygram = moneygram.com
booking.com = booking.com
airbnb = airbnb.com
expedia = expedia.com
ryanair = ryanair.com
lufthansa = lufthansa.com miles-and-more.com
disney+ | disney plus = disneyplus.com disney.com
hulu = hulu.com
paramount+ = paramountplus.com
steam guard | steam support = steampowered.com steamcommunity.com
playstation = playstation.com sony.com sonyentertainmentnetwork.com
roblox = roblox.com
epic games = epicgames.com
at&t = att.com att.net
verizon = verizon.com verizonwireless.com
xfinity | comcast = xfinity.com comcast.com comcast.net
t-mobile = t-mobile.com t-mobile.de telekom.de t-mobile.nl
telekom = telekom.de telekom.com t-online.de magenta.at
vodafone = vodafone.com vodafone.de vodafone.it vodafone.co.uk vodafone.es
o2 online = o2online.de o2.de o2.co.uk
1und1 = 1und1.de
gmx = gmx.de gmx.net gmx.at gmx.com
web.de = web.de
orange sfr | orange france = orange.fr orange.com
free mobile = free.fr
telefonica | movistar = movistar.es telefonica.com movistar.com
bt internet = bt.com btinternet.com
spectrum = spectrum.net spectrum.com
yahoo = yahoo.com yahoo.co.jp yahooinc.com
aol = aol.com
irs | internal revenue service = irs.gov
hmrc | hm revenue = hmrc.gov.uk gov.uk tax.service.gov.uk
dvla = gov.uk dvla.gov.uk
medicare = medicare.gov cms.gov
social security administration = ssa.gov
canada revenue agency = canada.ca cra-arc.gc.ca
agenzia delle entrate = agenziaentrate.gov.it agenziaentrate.it
inps = inps.it
agencia tributaria = agenciatributaria.es agenciatributaria.gob.es
ameli | assurance maladie | carte vitale = ameli.fr assurance-maladie.fr
impots.gouv | impôts.gouv = impots.gouv.fr dgfip.finances.gouv.fr
finanzamt | elster | bundeszentralamt = elster.de bzst.de bund.de finanzamt.de
mygov | australian taxation office = my.gov.au ato.gov.au
receita federal = gov.br fazenda.gov.br receita.fazenda.gov.br
"""


@attrs.frozen
class Brand:
    """One name.

    :ivar names: spellings, lower case, the usual one first
    """

    names: tuple[str, ...]
    domains: tuple[str, ...]

    def owns(self, host: str) -> bool:
        """True for its domains and all below them."""
        return any(
            _is_house(host, domain[1:]) if domain[0] == "~" else host == domain or host.endswith(f".{domain}")
            for domain in self.domains
        )


def _is_house(host: str, pattern: str) -> bool:
    """`sparkasse-koelnbonn.de` is one of the houses, `sparkasse-login.de` none."""
    name, _, ending = pattern.partition(".")
    label, _, rest = ".".join(host.split(".")[-2:]).partition(".")
    words = set(label.split("-"))
    return rest == ending and name in words and not words & AROUND


def _read() -> tuple[Brand, ...]:
    brands = []
    for line in _TABLE.strip().splitlines():
        names, _, domains = line.partition("=")
        brands.append(Brand(tuple(name.strip() for name in names.split("|")), tuple(domains.split())))
    return tuple(brands)


BRANDS: Final = _read()


@lru_cache(1)
def _finder() -> tuple[re2.Set, list[Brand]]:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 32 << 20
    found = re2.Set.SearchSet(options)
    owners = []
    for brand in BRANDS:
        for name in brand.names:
            # Looked for in a skeleton, so that no look-alike letter hides a name.
            found.Add(rf"(?:^|[^a-z0-9]){re.escape(skeleton(name))}(?:[^a-z0-9]|$)")
            owners.append(brand)
    found.Compile()
    return found, owners


def brands_in(text: str) -> list[Brand]:
    """The brands that a text names, in the order of the table, look-alike letters undone."""
    if not text:
        return []
    found, owners = _finder()
    matched = found.Match(skeleton(text[:4096])) or ()
    return list(dict.fromkeys(owners[number] for number in sorted(matched)))


@lru_cache(1)
def _called() -> dict[str, Brand]:
    return {
        skeleton(name.strip()): Brand((name.strip(),), tuple(domains.split()))
        for names, _, domains in (line.partition("=") for line in _CALLED.strip().splitlines())
        for name in names.split("|")
    }


def brands_called(name: str) -> list[Brand]:
    """The brands that a whole display name is, marks left out; their names are common words, or short."""
    plain = " ".join(re.findall(r"\w[\w&'.-]*", name.lower()))
    for word in _OFFICES:
        plain = plain.removesuffix(f" {word}")
    held = _called()
    found = held.get(skeleton(plain))
    return [found] if found is not None else []


#: What an office adds to the name of its house.
_OFFICES: Final = (
    "inc", "ltd", "gmbh", "team", "support", "service", "customer service", "customer support", "rewards", "reward",
    "notification", "notifications", "alert", "alerts", "security", "account", "online", "kundenservice", "de", "com",
    "shop", "store", "delivery", "express", "bank", "card", "survey", "surprise", "confirmation", "department", "gift",
)  # fmt: skip

#: Names that are taken for a brand only where they are the whole name of an author.
_CALLED: Final = """
apple = apple.com icloud.com
ledger = ledger.com
chase = chase.com jpmorgan.com
ups = ups.com
visa = visa.com
target = target.com
orange = orange.fr orange.com
post | deutsche post = dhl.de deutschepost.de post.ch post.at
discover = discover.com
citi = citi.com citibank.com
ing = ing.com ing.de ing.nl
wise = wise.com
zoom = zoom.us zoom.com
slack = slack.com
square = squareup.com square.com
stripe = stripe.com
trello = trello.com
kaufland = kaufland.de kaufland.com
rewe = rewe.de rewe-group.com
edeka = edeka.de
penny = penny.de
saturn = saturn.de mediamarktsaturn.com
rossmann = rossmann.de
dm = dm.de
douglas = douglas.de
otto = otto.de
tchibo = tchibo.de
louis vuitton = louisvuitton.com
ray-ban | rayban = ray-ban.com
nike = nike.com
adidas = adidas.com adidas.de
rolex = rolex.com
gucci = gucci.com
chanel = chanel.com
lego = lego.com
dyson = dyson.com dyson.de
bosch = bosch.com bosch.de
milwaukee = milwaukeetool.com
ninja = ninjakitchen.com sharkninja.com
harbor freight = harborfreight.com
ace hardware = acehardware.com
tractor supply = tractorsupply.com
sam's club | sams club = samsclub.com
kroger = kroger.com
cvs | cvs pharmacy = cvs.com cvshealth.com
walgreens = walgreens.com
dick's | dick's sporting goods = dickssportinggoods.com dcsg.com
marriott = marriott.com
delta | delta airlines = delta.com
southwest airlines = southwest.com
state farm = statefarm.com
aaa = aaa.com
omaha steaks = omahasteaks.com
t-mobile = t-mobile.com
telstra = telstra.com.au telstra.com
optus = optus.com.au
woolworths = woolworths.com.au woolworths.co.za
coles = coles.com.au
bunnings = bunnings.com.au
tesco = tesco.com
asda = asda.com asda.co.uk
argos = argos.co.uk
currys = currys.co.uk
boots = boots.com boots.co.uk
sncf = sncf.com sncf-connect.com sncf.fr
edf = edf.fr edf.com
engie = engie.com engie.fr
leclerc = e.leclerc leclerc.com
auchan = auchan.fr auchan.com
fnac = fnac.com
coop = coop.ch coop.it coop.co.uk
migros = migros.ch
esselunga = esselunga.it
conad = conad.it
tim = tim.it tim.com.br
vivo = vivo.com.br
claro = claro.com.br
magalu | magazine luiza = magazineluiza.com.br
americanas = americanas.com.br
casas bahia = casasbahia.com.br
smiles = smiles.com.br
netflix.com = netflix.com
aave = aave.com
uniswap = uniswap.org
opensea = opensea.io
phantom = phantom.app phantom.com
okx = okx.com
bybit = bybit.com
kucoin = kucoin.com
gemini = gemini.com
exodus = exodus.com exodus.io
"""


def owner_of(hosts: Iterable[str]) -> list[Brand]:
    """The brands that own one of some hosts."""
    held = tuple(hosts)
    return [brand for brand in BRANDS if any(brand.owns(host) for host in held)]
