"""Sentences that a PC shows a pupil and that the panel's page shows a teacher: one catalogue of both. Pure.

A sentence belongs here if both say it. ``netboot.boot.splash`` has those of a boot loader, in letters that
its console knows. The strip of a screen reads a file of its own, because a shell reads that at each start
(rootfs/screen/usr/share/netboot/texts); a test holds the two together. Texts of the page alone are in
netboot/panel/static/texts.json. Messages of servers and PCs are English, and the page has them in its
sentences.de.json.
"""

LANGUAGES = ("en", "de", "fr", "es", "pt", "it")
# By key, in the order of LANGUAGES; %s is a number of seconds.
_TABLE = {
    "boots": (
        "This PC starts. That takes about a minute.",
        "Dieser PC startet. Das dauert etwa eine Minute.",
        "Ce PC va bientôt être prêt. Attendez environ une minute.",
        "Este PC está arrancando. Tarda cerca de un minuto.",
        "Este PC está a iniciar. Demora cerca de um minuto.",
        "Questo PC si sta avviando. Serve circa un minuto.",
    ),
    "turn": (
        "Other PCs start right now. It is the turn of this one in about %s s.",
        "Andere PCs starten gerade. Dieser ist in etwa %s s an der Reihe.",
        "Des PC sont avant celui-ci. Attendez environ %s s.",
        "Hay otros PC antes que este. Espere unos %s s.",
        "Há outros PCs antes deste. Aguarde cerca de %s s.",
        "Altri PC sono prima di questo. Attendere circa %s s.",
    ),
    "obstacle": (
        "This PC cannot start yet.",
        "Dieser PC kann noch nicht starten.",
        "Ce PC ne peut pas encore démarrer.",
        "Este PC no puede arrancar todavía.",
        "Este PC ainda não pode iniciar.",
        "Questo PC non si avvia ancora.",
    ),
    "memory": (
        "This PC has too little memory.",
        "Dieser PC hat zu wenig Arbeitsspeicher.",
        "Ce PC manque de mémoire.",
        "Este PC tiene poca memoria.",
        "Este PC tem pouca memória.",
        "Questo PC ha poca memoria.",
    ),
    "server": (
        "The boot server does not answer.",
        "Der Startserver antwortet nicht.",
        "Le serveur de démarrage ne répond pas.",
        "El servidor de arranque no responde.",
        "O servidor de arranque não responde.",
        "Il server di avvio non risponde.",
    ),
    "again": (
        "Next try in %s s.",
        "Neuer Versuch in %s s.",
        "Nouvel essai dans %s s.",
        "Nuevo intento en %s s.",
        "Nova tentativa em %s s.",
        "Nuovo tentativo tra %s s.",
    ),
    "tell": (
        "Please tell the teacher.",
        "Bitte der Lehrkraft sagen.",
        "Prévenez votre enseignant.",
        "Avise al docente.",
        "Avise o docente.",
        "Avvisare il docente.",
    ),
}
WORDS = {key: dict(zip(LANGUAGES, row, strict=True)) for key, row in _TABLE.items()}

# On the page: the sentence of a seat in a state (%s is {n}), and the name of a stage.
OF_STATE = {"booting": "boots", "waiting": "turn"}
OF_STAGE = {"failed:memory": "memory", "failed:version": "obstacle", "agent:lost": "server"}


def of_page(languages: tuple[str, ...] = ("en", "de")) -> dict[str, dict[str, str]]:
    """Return the page's texts that are the PC's, by the keys of its texts.json."""
    texts = {f"now.{state}": WORDS[key] for state, key in OF_STATE.items()}
    names = {f"stage.{stage}": WORDS[key] for stage, key in OF_STAGE.items()}
    found = {key: {each: row[each] for each in languages} for key, row in (texts | names).items()}
    return {
        key: {each: _shown(key, text) for each, text in row.items()} for key, row in found.items()
    }


def _shown(key: str, text: str) -> str:
    # A name of a stage stands in tables and between others.
    return text.rstrip(".") if key.startswith("stage.") else text.replace("%s", "{n}")
