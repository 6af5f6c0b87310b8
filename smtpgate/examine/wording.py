# ruff: noqa: E501 - one pattern a line would be five hundred
"""What a message says, as numbers: families of phrases that press, promise and ask, and the form that they come in.

Each family is a set of RE2 patterns that are looked for in one pass over the text, after look-alike letters, zero-width
characters and odd blanks are undone. A family counts once, however often its phrases come: long honest letters must not
add up. English first; the phrases that such mail lives by also in German, French, Spanish, Italian, Portuguese and Dutch.
Nothing here decides: `FEATURES` says what each number means, filters weigh them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import re2

from smtpgate.examine.facts import Link, Text
from smtpgate.examine.skeleton import plain_letters
from smtpgate.examine.texts import ZERO_WIDTH, disguises
from smtpgate.message.header import HeaderSection

#: Letters that are looked at: what presses stands at the start.
LETTERS: Final = 32_768
_NO_ZERO: Final = dict.fromkeys(map(ord, ZERO_WIDTH))

#: Family: what it means to a person, and its patterns (RE2, over lower-case text with single blanks).
_FAMILIES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "account-threat": (
        "threatens to close, limit or suspend an account",
        (
            r"account (?:has been|will be|is|was|may be) (?:temporarily |permanently )?(?:suspend|limit|restrict|lock|disabl|deactivat|terminat|block|clos|delet)",
            r"(?:suspend|limit|restrict|lock|disabl|deactivat|terminat|block|clos|delet)\w* (?:of )?your (?:\w+ ){0,2}account",
            r"unusual (?:sign.?in|login|activity|transaction)",
            r"suspicious (?:sign.?in|login|activity|transaction)",
            r"unauthori[sz]ed (?:access|login|transaction|charge|use)",
            r"(?:avoid|prevent) (?:\w+ ){0,3}(?:suspension|interruption|termination|closure|deactivation)",
            r"permanently (?:lose|lost|delet|clos|suspend)",
            r"konto (?:wurde|wird|ist) (?:\w+ ){0,3}(?:gesperrt|eingeschränkt|deaktiviert|geschlossen|limitiert)",
            r"(?:sperrung|einschränkung) ihres",
            r"compte (?:a été|sera|est) (?:\w+ ){0,2}(?:suspendu|bloqué|limité|désactivé|restreint)",
            r"cuenta (?:ha sido|será|está|fue) (?:\w+ ){0,2}(?:suspendida|bloqueada|limitada|desactivada)",
            r"conto (?:è stato|sarà|verrà) (?:\w+ ){0,2}(?:sospeso|bloccato|limitato)",
            r"conta (?:foi|será|está) (?:\w+ ){0,2}(?:suspensa|bloqueada|limitada)",
            r"rekening (?:is|wordt) (?:\w+ ){0,2}(?:geblokkeerd|opgeschort|beperkt)",
        ),
    ),
    "verify-identity": (
        "asks to verify or update an account or personal data",
        (
            r"(?:verify|confirm|validate|update|re-?activate|restore|upgrade) (?:\w+ ){0,3}(?:account|identity|information|details|e.?mail|mailbox|billing|payment|password|profile|membership|records)",
            r"(?:account|identity|e.?mail|mailbox) (?:verification|validation|confirmation|upgrade) (?:is )?(?:required|needed|process)",
            r"keep (?:the )?(?:same|current|my) password",
            r"(?:bestätigen|aktualisieren|verifizieren|überprüfen) sie (?:\w+ ){0,3}(?:ihr|ihre|ihren|das|die) (?:\w+ )?(?:konto|daten|identität|angaben|zugang|kundendaten)",
            r"(?:confirmer|vérifier|mettre à jour|valider|actualiser) (?:\w+ ){0,2}(?:votre|vos) (?:\w+ )?(?:compte|identité|informations|coordonnées|données)",
            r"(?:confirmar|verificar|actualizar|actualice|verifique|confirme) (?:\w+ ){0,2}(?:su|sus|tu|tus) (?:\w+ )?(?:cuenta|identidad|datos|información)",
            r"(?:confermare|verificare|aggiornare|conferma|verifica|aggiorna) (?:\w+ ){0,2}(?:il tuo|i tuoi|la tua|le tue|il suo|i suoi) (?:\w+ )?(?:conto|account|dati|identità|informazioni)",
            r"(?:confirmar|verificar|atualizar|atualize|confirme|verifique) (?:\w+ ){0,2}(?:sua|seus|seu|suas) (?:\w+ )?(?:conta|dados|identidade|cadastro)",
            r"(?:bevestig|verifieer|controleer|update) (?:\w+ ){0,2}(?:uw|je) (?:\w+ )?(?:account|gegevens|identiteit|rekening)",
        ),
    ),
    "urgency": (
        "presses to act at once",
        (
            r"within (?:the next )?(?:24|48|72|12|6|\w+) ?(?:hours|hrs|hour|business days|days) (?:or|to|your|otherwise|of)",
            r"(?:act|respond|reply|click|call|order) (?:now|immediately|today|fast|quickly|asap|urgently)",
            r"immediate (?:action|attention|response)",
            r"urgent(?:ly)? (?:action|attention|notice|response|require|matter|reply)",
            r"(?:final|last|second) (?:notice|warning|reminder|chance|attempt|call)",
            r"(?:expires?|expiring|ends?) (?:today|tonight|soon|in \d+ (?:hours|days|minutes))",
            r"failure to (?:comply|respond|verify|confirm|update|do so)",
            r"before it'?s too late",
            r"don'?t (?:miss|wait|delay|ignore)",
            r"innerhalb (?:von )?(?:24|48|72) stunden",
            r"(?:dringend|umgehend|sofort|unverzüglich) (?:\w+ ){0,2}(?:handeln|bestätigen|aktualisieren|reagieren|erforderlich)",
            r"letzte (?:mahnung|warnung|erinnerung|chance)",
            r"(?:dans les|sous) (?:24|48|72) ?(?:h|heures)",
            r"action (?:immédiate|requise|urgente)",
            r"dernier (?:avis|rappel)",
            r"en (?:las próximas )?(?:24|48|72) horas",
            r"(?:acción|atención) (?:inmediata|requerida|urgente)",
            r"último (?:aviso|recordatorio|lembrete)",
            r"entro (?:24|48|72) ore",
            r"ultimo (?:avviso|promemoria|sollecito)",
            r"binnen (?:24|48|72) uur",
            r"laatste (?:herinnering|waarschuwing|kans)",
            r"em até (?:24|48|72) horas",
        ),
    ),
    "click-here": (
        "asks to click a link or button",
        (
            r"(?:click|tap|press) (?:on )?(?:here|below|the (?:\w+ ){0,2}(?:link|button)|this link)",
            r"(?:follow|use|visit) the (?:\w+ )?link (?:below|above|here)",
            r"(?:log|sign) ?in (?:here|now|below) (?:to|and)?",
            r"klicken sie (?:\w+ ){0,3}(?:hier|link|button|schaltfläche)",
            r"cliquez (?:\w+ ){0,2}(?:ici|sur|ci-dessous)",
            r"haga clic|haz clic|pulse aquí|clique aqui|clicca (?:qui|sul)|clicchi|klik (?:hier|op)",
        ),
    ),
    "mailbox-quota": (
        "says that a mailbox is full, outdated or holds mail back",
        (
            r"(?:mailbox|e.?mail|storage|inbox|account) (?:\w+ ){0,4}(?:is (?:almost )?full|quota|exceeded|over(?: its)? limit|out of (?:space|storage))",
            r"(?:quota|storage) (?:\w+ ){0,3}(?:exceeded|limit|full|reached)",
            r"\d+ (?:\w+ ){0,3}(?:messages|emails?|mails) (?:\w+ ){0,4}(?:pending|undelivered|held|on hold|quarantined|blocked)",
            r"(?:pending|undelivered|held|quarantined|incoming) (?:\w+ ){0,2}(?:messages|emails?|mails)",
            r"password (?:\w+ ){0,4}expir",
            r"(?:webmail|mail) (?:\w+ ){0,2}(?:upgrade|update|maintenance|migration|administrator|helpdesk)",
            r"postfach (?:\w+ ){0,3}(?:voll|überschritten)",
            r"passwort (?:\w+ ){0,3}(?:läuft ab|abgelaufen)",
            r"cloud storage (?:\w+ ){0,4}(?:full|expired|limit)",
            r"(?:photos|files|videos) (?:\w+ ){0,4}(?:will be|are going to be) (?:deleted|lost|removed)",
        ),
    ),
    "payment-trouble": (
        "says that a payment failed or a card must be updated",
        (
            r"payment (?:\w+ ){0,3}(?:fail|declin|reject|unsuccessful|problem|on hold|could not)",
            r"(?:unable|failed|couldn'?t) to (?:process|renew|charge|authori[sz]e|collect) (?:\w+ ){0,3}(?:payment|subscription|card|membership)",
            r"(?:subscription|membership|antivirus|protection|service) (?:\w+ ){0,4}(?:expired|has ended|ending|cancel|suspend)",
            r"(?:update|verify) (?:\w+ ){0,2}(?:payment|billing|card) (?:method|information|details)",
            r"zahlung (?:\w+ ){0,3}(?:fehlgeschlagen|abgelehnt|nicht)",
            r"paiement (?:\w+ ){0,3}(?:échoué|refusé|rejeté)",
            r"pago (?:\w+ ){0,3}(?:rechazado|fallido)",
            r"pagamento (?:\w+ ){0,3}(?:rifiutato|non riuscito|recusado|não)",
        ),
    ),
    "charge-notice": (
        "tells of a charge or order that nobody made, with a number to call",
        (
            r"(?:has been|was|will be) (?:successfully )?(?:charged|debited|renewed|deducted|billed) (?:\w+ ){0,6}(?:\$|usd|eur|£|€|account|card)",
            r"(?:if you did(?: not|n'?t)|not you|didn'?t) (?:\w+ ){0,4}(?:authori[sz]e|make|place|order|purchase|recogni[sz]e|request)",
            r"(?:call|contact|reach) (?:\w+ ){0,6}(?:toll.?free|helpline|help ?desk|support team|customer (?:care|support|service))",
            r"(?:order|invoice|transaction) (?:id|no|number|#)[ :.#-]*[a-z0-9-]{5,}",
            r"(?:toll.?free|helpline|call us)[^0-9]{0,20}\+?[0-9(][0-9 ().-]{8,}",
        ),
    ),
    "prize": (
        "promises a prize, gift or reward",
        (
            r"congratulations",
            r"you(?:'ve| have)?(?: been)? (?:won|selected|chosen|picked)",
            r"(?:claim|collect|receive|get) (?:\w+ ){0,3}(?:prize|reward|gift|bonus|voucher|winnings|free)",
            r"(?:gift|reward|promo) ?cards?",
            r"winning (?:number|notification|email)",
            r"lott(?:ery|o)|sweepstake|jackpot|raffle",
            r"(?:short|quick|brief|\d+.question) survey",
            r"herzlichen glückwunsch|gewonnen|gutschein|gewinnspiel",
            r"félicitations|vous avez (?:gagné|été (?:sélectionné|choisi))|carte.cadeau",
            r"felicidades|enhorabuena|ha(?:s)? (?:ganado|sido seleccionad)",
            r"congratulazioni|hai vinto|è stat[oa] selezionat|buono regalo",
            r"parabéns|você (?:ganhou|foi (?:selecionad|sortead))",
            r"gefeliciteerd|u heeft gewonnen|cadeaubon",
        ),
    ),
    "gambling": (
        "lures with a casino, free spins or a bonus",
        (
            r"casino|free ?spins|freispiele|tours gratuits|giri gratis|giros gratis|rodadas grátis|gratis spins|slots?\b|roulette|blackjack|poker|jackpot",
            r"(?:welcome|deposit|willkommens|einzahlungs|no.?deposit) ?(?:bonus|offer)|bonus (?:de bienvenue|di benvenuto|de bienvenida)|(?:sports?|online) ?bet(?:ting|s)?|wett(?:en|bonus)|cagnotte",
        ),
    ),
    "giveaway": (
        "gives away goods of a known shop for a few answers",
        (
            r"(?:claim|get|grab|unlock|secure|enjoy|receive) (?:\w+ ){0,3}(?:reward|gift|prize|voucher|bonus|surprise|free|offer|kit|set|sample|airdrop)",
            r"(?:loyalty|reward|bonus|member) ?(?:program|points?|card|status)|points (?:\w+ ){0,3}expir|(?:your|earned) rewards?",
            r"(?:answer|complete|take) (?:\w+ ){0,4}(?:survey|questions?|poll)|randomly (?:selected|chosen)|lucky (?:winner|customer|shopper|visitor)|chance to (?:win|receive|get)|exclusive (?:reward|gift|surprise)",
            r"(?:einkaufs|geschenk)?gutschein|gewinn(?:spiel|chance|en|er)|kostenlos (?:teilnehmen|erhalten)|jetzt (?:teilnehmen|sichern|einlösen)|belohnung|treuepunkte",
            r"carte.cadeau|bon d'achat|tentez de gagner|participez|récompense|points? de fidélité|tirage",
            r"tarjeta.regalo|vale.regalo|participa(?:r)? (?:ahora|gratis)|sorteo|recompensa|puntos (?:\w+ ){0,3}(?:caduc|expir|vence)",
            r"buono (?:regalo|spesa)|partecipa|concorso|premio|punti (?:\w+ ){0,3}scad",
            r"cartão.presente|vale.presente|sorteio|prêmio|pontos (?:\w+ ){0,4}(?:expir|vencem|resgat)|resgat(?:e|ar)|milhas",
            r"cadeaubon|winactie|prijs|spaarpunten",
        ),
    ),
    "advance-fee": (
        "offers a fortune of strangers: inheritance, donation, transfer of funds",
        (
            r"next of kin|inheritance|beneficiary|deceased|late (?:client|husband|father)|will and testament",
            r"(?:million|billion|thousand|m) (?:us )?(?:united states )?(?:dollars|euros?|pounds|usd|gbp|eur)|(?:us\$|usd|\$|€|£|eur|gbp) ?\d[\d.,]* ?(?:million|billion|m\b)",
            r"(?:transfer|release|remit) (?:\w+ ){0,5}(?:fund|money|sum|amount)",
            r"(?:foreign|unclaimed|dormant|overdue) (?:\w+ ){0,2}(?:partner|fund|account|payment|contract)",
            r"bank of (?:africa|nigeria|ghana)|nigeria|ivory coast|cote d'?ivoire|burkina|lagos|abidjan|ouagadougou",
            r"(?:barrister|attorney|diplomat|dr\.?|mrs\.?|mr\.?|sgt\.?|general|prince|widow|orphan) \w+ (?:\w+ )?(?:and |from |of )",
            r"(?:strictly|utmost|highly) confidential|utmost (?:secrecy|trust|good faith)",
            r"(?:business|investment) (?:proposal|proposition|transaction|partnership|opportunity)",
            r"(?:donat|charity|orphanage|god bless|almighty|greetings in the name)",
            r"(?:your|an) (?:urgent |kind |swift |positive )?(?:assistance|cooperation|response) (?:\w+ ){0,3}(?:needed|required|appreciated|is|will)",
            r"compensation (?:fund|payment|committee)|atm (?:visa )?card|imf|world bank|united nations",
        ),
    ),
    "extortion": (
        "threatens to publish what a camera saw, and asks for coins",
        (
            r"(?:i|we) (?:\w+ ){0,3}(?:hacked|infected|have access to|recorded|installed) (?:\w+ ){0,5}(?:you|your|device|computer|camera|malware|trojan|virus)",
            r"(?:masturbat|pleasur(?:e|ing) yourself|adult (?:site|video|website)s?|porn|explicit video|webcam)",
            r"(?:bitcoin|btc|litecoin|ltc|monero|ethereum) (?:wallet|address)",
            r"(?:pay|send|transfer) (?:\w+ ){0,5}(?:bitcoin|btc|\$|usd|dollars)",
            r"(?:send|share|publish|post|leak) (?:\w+ ){0,5}(?:video|recording|footage|contacts|friends|relatives)",
            r"(?:bc1|[13])[a-km-zA-HJ-NP-Z1-9]{25,45}",
            r"don'?t (?:try to )?(?:contact|reply|go to) (?:\w+ ){0,4}(?:police|me)",
        ),
    ),
    "crypto-lure": (
        "lures with coins, trading or quick profit",
        (
            r"(?:bitcoin|crypto(?:currency)?|btc|eth|token|airdrop|wallet|mining|nft) (?:\w+ ){0,4}(?:profit|earn|reward|claim|bonus|invest|account|withdraw|balance|transaction|confirm)",
            r"(?:passive|extra|daily|weekly) (?:income|profit|earnings)",
            r"(?:trading|forex|binary) (?:robot|bot|platform|signals|software|options)",
            r"(?:double|triple|multiply) your (?:money|income|investment|bitcoin)",
            r"return on (?:your )?investment|guaranteed (?:profit|return|income)",
            r"financial freedom|get rich|make money|work (?:from|at) home|earn (?:up to )?\$?\d",
        ),
    ),
    "loan-debt": (
        "offers loans, debt relief, insurance or mortgages",
        (
            r"(?:debt|credit) (?:consolidat|relief|repair|free|problem|card debt|elimination)",
            r"(?:low|lowest|interest|mortgage|refinanc\w*) (?:\w+ )?rates?",
            r"(?:home|personal|business|payday|student|car|instant) (?:equity )?loans?",
            r"(?:life|car|auto|health|dental) insurance|insurance quotes?",
            r"(?:refinance|mortgage)",
            r"(?:pre-?)?approved for|no credit check|bad credit|credit score",
            r"(?:sofort)?kredit|darlehen|prêt (?:personnel|rapide|entre particulier)|préstamo|prestito|empréstimo|lening",
        ),
    ),
    "pharma": (
        "sells pills, weight loss or enlargement",
        (
            r"v[i1l]agra|c[i1l]al[i1l]s|levitra|xanax|valium|tramadol|phentermine|ambien|soma\b|prozac|hgh|human growth",
            r"(?:online|canadian|discount) (?:pharmacy|drugs?|meds?|prescriptions?)|no (?:prior )?prescription|rx\b",
            r"(?:lose|burn|drop) (?:\w+ ){0,3}(?:weight|fat|pounds|lbs|kilos)|weight.?loss|keto|diet pills?|slimming|belly fat|appetite",
            r"(?:penis|penile|breast|male|natural) (?:enlarge|enhance)\w*|enlarge(?:ment)?|erect(?:ion|ile)|libido|sexual (?:performance|desire|health)|potenz|penisvergr|érection",
            r"(?:anti.?aging|wrinkle|hair loss|cure|remedy|miracle|supplement|herbal|cbd|gummies|nerve|blood sugar|diabetes|tinnitus|prostate|toenail|fungus|neuropathy|joint pain)",
            r"(?:clinically|doctor|scientists?) (?:proven|recommended|discover|stunned|hate)",
        ),
    ),
    "adult": (
        "lures with sex or dating",
        (
            r"(?:hot|horny|naked|nude|sexy|lonely|single|mature|local) (?:girls?|women|wom[ae]n|singles|ladies|teens?|housewives|moms?)",
            r"(?:adult|xxx|porn|sex|hardcore|erotic|webcam) (?:\w+ )?(?:site|video|movie|pics?|chat|dating|content|cams?|pictures|photos)",
            r"(?:meet|date|chat with|dating) (?:\w+ ){0,3}(?:singles|girls|women|ladies|russian|ukrainian|asian)",
            r"(?:wants?|want) to (?:meet|fuck|hook|chat|see) you|hook ?up|fuck|blowjob|cum\b",
            r"18 ?\+|over 18|must be 18|adults only",
        ),
    ),
    "marketing": (
        "sells in the words of advertising",
        (
            r"(?:limited|special|exclusive|amazing|incredible|unbeatable|best|great|introductory|one.?time) (?:time |\w+ )?(?:offer|deal|price|opportunity|discount|promotion)",
            r"(?:100%|money.?back|satisfaction|risk.?free|no.?risk) (?:\w+ )?(?:guarante|refund|free|trial|satisf)",
            r"(?:order|buy|subscribe|sign up|call|register|join|enroll) (?:now|today)|order (?:yours|form)",
            r"(?:free|no (?:cost|obligation|strings)) (?:\w+ )?(?:trial|sample|quote|report|consultation|shipping|gift|membership|info|access|estimate|bonus|cd|dvd|video|book)|absolutely free|for free|free of charge|at no cost|no obligation",
            r"(?:save|discount|off|reduce) (?:\w+ ){0,3}\d{2,3} ?%|\d{2,3} ?% off|lowest prices?|half price|cheap(?:est)?|wholesale|bargain|clearance",
            r"(?:all|most) (?:major )?credit cards|visa,? mastercard|check or money order|cash,? check|money order|fax (?:your )?order",
            r"(?:as seen on|featured on|endorsed) (?:tv|oprah|national|cnn|abc|nbc)|testimonials?|satisfied customers|thousands of people|millions of people",
            r"(?:while supplies last|act now|don'?t delay|limited (?:supply|quantities|seats|spots|stock))",
            r"dear (?:friend|sir|madam|homeowner|business owner|entrepreneur|investor|reader|webmaster|e-?bay)",
        ),
    ),
    "bulk-words": (
        "speaks of lists, of being no spam, or of removal by mail",
        (
            r"(?:this|our) (?:\w+ )?(?:is not|isn'?t|is not a) (?:\w+ )?(?:spam|unsolicited)|not (?:a )?spam|one.?time (?:mailing|message|email)|(?:received|receiving) this (?:\w+ )?(?:e-?mail |message |mailing )?(?:\w+ )?because|can-?spam|s\. ?1618|bill 1618|title iii",
            r"(?:to be |be )?remov(?:e|ed|al) (?:\w+ ){0,5}(?:list|database|mailing|email|future|here|subject)|(?:reply|send|email) (?:\w+ ){0,8}(?:\"?remove\"?|unsubscribe) (?:\w+ ){0,3}(?:subject|line|body)|remove in the subject|type remove|opt.?out|opt.?in (?:list|email)",
            r"(?:e-?mail|bulk|targeted|opt.?in) (?:address(?:es)?|list|marketing|mailing|campaign|leads|advertising) (?:\w+ ){0,3}(?:cd|million|software|database|service|for sale)|million (?:e-?mail|addresses)|bulk (?:e-?mail|mailer|friendly)|e-?mail (?:extractor|marketing|advertis)",
            r"(?:further|future) (?:mailings|e-?mails|transmissions|messages|offers|correspondence)|no longer (?:wish|want) to (?:receive|be contacted|hear)|we (?:respect|apologi[sz]e|honor) (?:\w+ ){0,4}(?:privacy|inconvenience|intrusion|requests)",
        ),
    ),
    "seo-offer": (
        "offers web design, traffic, leads or ranking",
        (
            r"(?:seo|search engine|first page|page (?:one|1)|top) (?:\w+ ){0,3}(?:rank|optimi[sz]|google|placement|submission|services?|listing)",
            r"(?:web ?site|web) (?:design|development|redesign|traffic|promotion|hosting)|app development|backlinks?|guest posts?|link exchange",
            r"(?:qualified|sales|business|exclusive) leads|lead generation|increase (?:your )?(?:sales|traffic|revenue|business)|reach (?:\w+ ){0,3}(?:millions|customers|prospects)",
            r"(?:marketing|business) (?:system|program|plan|opportunity|kit|secrets)|home.?based business|network marketing|mlm|be your own boss|multi.?level|downline|residual income|financial independence",
        ),
    ),
    "stranger-favour": (
        "a short word of a superior or acquaintance that asks for a favour",
        (
            r"are you (?:available|free|at your desk|in the office|less busy)|(?:kindly|please) (?:reply|get back|text|send) (?:me )?(?:your (?:cell|mobile|phone|personal|whatsapp)|asap|once you)",
            r"(?:need|want) (?:you to|your help|a favou?r|a task|assistance)|(?:quick|small) (?:task|favou?r|request)|i'?m (?:in|at) a (?:meeting|conference)|can'?t talk|available for a (?:quick )?(?:task|request)",
            r"(?:purchase|buy|get) (?:\w+ ){0,4}(?:gift|itunes|steam|google play|amazon|apple) (?:\w+ )?cards?|scratch (?:the|off)|send (?:\w+ ){0,4}(?:pictures?|photos?|codes?) of (?:the )?(?:card|back|codes)",
            r"(?:change|update) (?:\w+ ){0,4}(?:direct deposit|payroll|bank (?:details|account|information))|(?:process|make|initiate) (?:\w+ ){0,3}(?:wire|payment|transfer)",
        ),
    ),
    "job-offer": (
        "offers work without asking for skill, or pay for passing on money or parcels",
        (
            r"(?:job|work|position|vacancy) (?:\w+ ){0,3}(?:from home|at home|part.?time|remote|no experience|no interview)",
            r"(?:no|without) (?:\w+ )?(?:experience|skills|qualifications?) (?:is |are )?(?:needed|required|necessary)",
            r"(?:earn|make|paid|salary|income) (?:\w+ ){0,4}(?:per|a|every|each) (?:hour|day|week)",
            r"(?:mystery|secret) shopper|payment (?:processing )?agent|package (?:handler|forwarder)|reship|car wrap",
            r"(?:your|the) (?:cv|resume|profile) (?:\w+ ){0,4}(?:selected|matche?s|shortlisted|caught)",
            r"nebenjob|heimarbeit|travail à domicile|trabajo desde casa|lavoro da casa|trabalho em casa|thuiswerk",
        ),
    ),
    "parcel": (
        "says that a parcel waits, or asks a fee for it",
        (
            r"(?:package|parcel|shipment|delivery|item) (?:\w+ ){0,6}(?:on hold|held|pending|could not be|couldn'?t be|unable to|fail|waiting|suspended|returned|stopped|undeliver|awaiting|reschedul)",
            r"(?:delivery|shipping|customs|redelivery|clearance) (?:fee|fees|charge|charges|cost|attempt|failed|problem|issue)",
            r"(?:track|confirm|schedule|reschedule|update) (?:\w+ ){0,2}(?:package|parcel|shipment|delivery|shipping|address)",
            r"(?:paket|sendung|lieferung) (?:\w+ ){0,6}(?:wartet|nicht|zurück|angehalten|ausstehend|gebühr|zoll|aufgehalten|bestätig)",
            r"(?:colis|livraison) (?:\w+ ){0,6}(?:attente|suspendu|bloqué|frais|n'a pas|échou|retourné)",
            r"(?:paquete|envío|pedido) (?:\w+ ){0,6}(?:retenido|pendiente|no (?:se )?(?:pudo|ha)|espera|aduana)",
            r"(?:pacco|spedizione|consegna) (?:\w+ ){0,6}(?:attesa|sospes|in giacenza|trattenut|bloccat|fallita)",
            r"(?:encomenda|pacote|entrega) (?:\w+ ){0,6}(?:retida|pendente|aguarda|taxa|não)",
            r"(?:pakket|zending|levering) (?:\w+ ){0,6}(?:wacht|niet|vastgehouden|kosten|mislukt)",
        ),
    ),
    "document-lure": (
        "a document, fax, voice message or invoice that must be opened by a link",
        (
            r"(?:shared|sent) (?:you )?(?:a |an |the )?(?:\w+ ){0,3}(?:document|file|folder|pdf|fax|invoice|contract|proposal)",
            r"(?:view|open|review|access|download|preview|sign) (?:the |your |this )?(?:\w+ ){0,2}(?:document|file|fax|invoice|attachment|pdf|message|voicemail|statement|contract)",
            r"(?:new|missed|received a|unheard) (?:voice ?mail|voice message|fax|e-?fax|audio message|call)",
            r"(?:docusign|e-?signature|please sign|signature required|completed document)",
            r"(?:remittance|payment|wire) (?:advice|copy|confirmation|slip|receipt|invoice)|proof of payment|purchase order|request for quot|rfq|swift copy|outstanding (?:invoice|balance|payment)|overdue invoice",
            r"dokument (?:\w+ ){0,3}(?:geteilt|freigegeben|ansehen)|document (?:\w+ ){0,3}(?:partagé|à consulter)|documento (?:\w+ ){0,3}(?:compartido|condiviso|compartilhado)",
        ),
    ),
    "vague-greeting": (
        "greets nobody by name",
        (
            r"(?:dear|hello|hi|attention|greetings) (?:valued |esteemed |beloved |our )?(?:customer|client|user|member|subscriber|e-?mail user|account (?:holder|owner|user)|beneficiary|friend|sir|madam|sir ?/ ?madam|winner|card ?(?:holder|member)|web ?mail user|colleague|shopper|one)",
            r"sehr geehrte[rs]? (?:kunde|kundin|kunden|nutzer|kundinnen|damen|online|mitglied|karteninhaber)|lieber kunde|guten tag,? (?:lieber )?kunde",
            r"cher(?:e|s)? (?:client|abonné|utilisateur|membre)|madame,? monsieur",
            r"estimad[oa]s? (?:cliente|usuario|titular|señor)|querido cliente|apreciado cliente",
            r"gentile (?:cliente|utente|titolare)|caro cliente",
            r"prezad[oa]s? (?:cliente|usuári|senhor|titular)|car[oa] cliente|estimado cliente",
            r"(?:beste|geachte) (?:klant|gebruiker|heer|meneer|relatie)",
        ),
    ),
    "no-reply-needed": (
        "forbids to answer or dresses as an automatic notice",
        (
            r"(?:do not|don'?t|please do not) (?:reply|respond) (?:directly )?to this|automat(?:ic|ed|ically) (?:\w+ )?(?:message|generated|e-?mail|notification|mail)|system generated|unattended (?:mailbox|inbox)",
            r"(?:antworten sie (?:bitte )?nicht|automatisch (?:generiert|erstellt))|ne pas répondre|no responda|non rispondere|não responda|niet (?:op )?beantwoord",
            r"(?:security|support|help ?desk|technical|billing|customer (?:care|service|support)|verification|service|admin|it|fraud(?: prevention)?) (?:team|department|dept|desk|center|centre|division)",
            r"copyright|©|all rights reserved|alle rechte vorbehalten|tous droits|todos los derechos|tutti i diritti|todos os direitos",
        ),
    ),
    "money": (
        "names sums of money",
        (
            r"(?:\$|usd|us\$|€|eur|£|gbp|chf|aud|cad|r\$) ?\d[\d.,]*|\d[\d.,]* ?(?:\$|€|£|dollars|euros?|usd|eur|chf|pounds)",
        ),
    ),
    "refund": (
        "promises money back from a tax office, a bank or a shop",
        (
            r"(?:tax|vat|council|energy|government) (?:\w+ )?(?:refund|rebate|relief|return)|(?:refund|rebate) (?:\w+ ){0,4}(?:pending|available|claim|amount|processed|due|waiting|of)|eligible (?:for|to receive)|(?:claim|process) (?:your )?refund|overpaid|overpayment",
            r"(?:steuer)?(?:rück)?erstattung|rückzahlung|remboursement|reembolso|rimborso|restituição|devolución|terugbetaling|teruggave",
        ),
    ),
}

#: What each number of `features` means, for a person. Families of phrases count 1 in the text and 1 more in the subject.
FEATURES: Final[dict[str, str]] = {
    **{name: said for name, (said, _) in _FAMILIES.items()},
    **{f"{name}-subject": f"its subject {said}" for name, (said, _) in _FAMILIES.items()},
    "letters": "letters of text that a person reads",
    "hidden-letters": "letters of text that a person does not see",
    "upper-share": "share of capitals among the letters of the text",
    "subject-upper": "the subject is in capitals",
    "subject-marks": "exclamation and question marks in the subject",
    "exclamations": "exclamation marks for each thousand letters",
    "spaced-words": "words with blanks between their letters",
    "leet-words": "words with digits and marks among their letters",
    "mixed-words": "words with letters of two alphabets",
    "zero-width-words": "zero-width characters inside words",
    "links": "links to other hosts",
    "link-domains": "domains that links lead to",
    "only-link": "little text and a link",
    "emoji-subject": "pictures among the letters of the subject",
    "reply-without-thread": "the subject says Re: or Fwd: and nothing shows what to",
    "styled-letters": "letters of mathematics in place of ordinary ones",
}


@lru_cache(1)
def _finders() -> dict[str, re2.Set]:
    """A set for each family: one for all has so many states that each new text makes more of them."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 16 << 20
    out: dict[str, re2.Set] = {}
    for name, (_, patterns) in _FAMILIES.items():
        found = out[name] = re2.Set.SearchSet(options)
        for pattern in patterns:
            # RE2 knows \w for ASCII only.
            anywhere = pattern.replace(r"\w", r"[\pL\pN_]")
            found.Add(rf"(?:^|[^\pL\pN])(?:{anywhere})")
        found.Compile()
    return out


def families(text: str) -> set[str]:
    """The families of phrases in a normal text (`normal`)."""
    return {name for name, found in _finders().items() if found.Match(text)}


_BLANKS: Final = re.compile(r"\s+")
_SPACED: Final = re.compile(r"(?<!\w)(?:\w[ ._*-]){4,40}\w(?!\w)")
_LEET: Final = re.compile(r"(?<![\w/@.#&=-])[A-Za-z]{1,12}(?:[0-9$@!|*][A-Za-z]{1,12}){1,6}(?![\w/@=])")


def normal(text: str) -> str:
    """A text as phrases are looked for in it."""
    text = unicodedata.normalize("NFKC", text[:LETTERS].translate(_NO_ZERO)).lower()
    if not text.isascii():
        # Only words of two alphabets are undone: honest ones of one alphabet stay what they are.
        text = " ".join(plain_letters(word) if _is_mixed(word) else word for word in text.split())
    return _BLANKS.sub(" ", text.replace("’", "'").replace("=", " "))


def features(subject: str, texts: Sequence[Text], links: Iterable[Link], header: HeaderSection) -> dict[str, float]:
    """The numbers, by name; those that are 0 are left out."""
    shown = [text for text in texts if text.source in ("plain", "html")]
    # The same letter in two forms is one letter: the longer is what is judged.
    body = max((text.text for text in shown), key=len, default="")
    hidden = sum(len(text.hidden) for text in shown)
    out: dict[str, float] = {}
    for name in families(normal(body)):
        out[name] = 1
    for name in families(normal(subject)):
        out[f"{name}-subject"] = 1
    out |= _form(body[:LETTERS], subject, hidden)
    hosts = {
        link.domain for link in links if link.scheme in ("http", "https") and link.tag in ("", "a", "area", "form")
    }
    out["zero-width-words"] = min(10, disguises(body[:LETTERS]).get("zero-width-words", 0))
    out["link-domains"] = len(hosts)
    out["links"] = sum(link.tag in ("", "a", "area", "form") for link in links)
    out["only-link"] = float(bool(hosts) and len(body) < 200)
    is_reply = re.match(r"\s*(?:re|aw|fw|fwd|wg|tr|rv|sv|antw|res|enc)\s*(?:\[\d+\])?\s*:", subject, re.IGNORECASE)
    if is_reply and not header.all("in-reply-to") and not header.all("references") and not header.all("list-id"):
        out["reply-without-thread"] = 1
    return {name: round(value, 3) for name, value in out.items() if value}


_NO_LETTERS: Final = bytes(octet for octet in range(256) if not chr(octet).isalpha() or octet > 127)
_NO_CAPITALS: Final = bytes(octet for octet in range(256) if not chr(octet).isupper() or octet > 127)


def _letters(text: str) -> tuple[int, int]:
    """How many letters, and how many of them are capitals."""
    if text.isascii():
        octets = text.encode("ascii")
        return len(octets.translate(None, _NO_LETTERS)), len(octets.translate(None, _NO_CAPITALS))
    letters = [letter for letter in text if letter.isalpha()]
    return len(letters), sum(map(str.isupper, letters))


def _form(body: str, subject: str, hidden: int) -> dict[str, float]:
    letters, capitals = _letters(body)
    subject_letters = [letter for letter in subject if letter.isalpha()]
    words = body.split()[:5000]
    styled = 0
    if not (body.isascii() and subject.isascii()):
        styled = sum("\U0001d400" <= letter <= "\U0001d7ff" for letter in body[:5000] + subject)
    return {
        "letters": len(body),
        "hidden-letters": hidden,
        "upper-share": capitals / letters if letters > 40 else 0,
        "subject-upper": float(
            len(subject_letters) > 8 and sum(map(str.isupper, subject_letters)) > 0.7 * len(subject_letters)
        ),
        "subject-marks": min(5, subject.count("!") + subject.count("?")),
        "exclamations": min(20, 1000 * body.count("!") / len(body)) if len(body) > 100 else min(5, body.count("!")),
        "spaced-words": min(10, len(_SPACED.findall(body[:16384]))),
        "leet-words": min(10, len(_LEET.findall(body[:16384]))),
        "mixed-words": min(10, sum(_is_mixed(word) for word in words if not word.isascii())),
        "emoji-subject": min(3, sum(letter > "\u2190" and unicodedata.category(letter) == "So" for letter in subject)),
        "styled-letters": float(styled > 3),
    }


def _is_mixed(word: str) -> bool:
    latin = any("a" <= letter.lower() <= "z" for letter in word)
    return latin and any("\u0370" <= letter <= "\u052f" for letter in word)
