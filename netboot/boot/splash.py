"""The sentences that a boot loader shows to a pupil, in the language of the seat. Pure.

They stand below the English line for the technician. The letters are ASCII: iPXE's console of Debian
knows no others (its console.h). A shell reads them in GRUB, so they have no apostrophe.
"""

from netboot.profile.profile import Seat

# By key and language; %s is a number. English lines are the scripts' own.
SENTENCES: dict[str, dict[str, str]] = {
    "boots": {
        "de": "Dieser PC startet. Das dauert etwa eine Minute.",
        "fr": "Ce PC va bientot etre pret. Attendez environ une minute.",
        "es": "Este PC esta arrancando. Tarda cerca de un minuto.",
        "pt": "Este PC esta a iniciar. Demora cerca de um minuto.",
        "it": "Questo PC si sta avviando. Serve circa un minuto.",
    },
    "turn": {
        "de": "Andere PCs starten gerade. Dieser ist in etwa %s s an der Reihe.",
        "fr": "Des PC sont avant celui-ci. Attendez environ %s s.",
        "es": "Hay otros PC antes que este. Espere unos %s s.",
        "pt": "Ha outros PCs antes deste. Aguarde cerca de %s s.",
        "it": "Altri PC sono prima di questo. Attendere circa %s s.",
    },
    "obstacle": {
        "de": "Dieser PC kann noch nicht starten. Bitte der Lehrkraft sagen. Neuer Versuch in %s s.",
        "fr": "Ce PC ne peut pas encore demarrer. Prevenez votre enseignant. Nouvel essai dans %s s.",
        "es": "Este PC no puede arrancar todavia. Avise al docente. Nuevo intento en %s s.",
        "pt": "Este PC ainda nao pode iniciar. Avise o docente. Nova tentativa em %s s.",
        "it": "Questo PC non si avvia ancora. Avvisare il docente. Nuovo tentativo tra %s s.",
    },
    "memory": {
        "de": "Dieser PC hat zu wenig Arbeitsspeicher. Bitte der Lehrkraft sagen.",
        "fr": "Ce PC manque de memoire. Prevenez votre enseignant.",
        "es": "Este PC tiene poca memoria. Avise al docente.",
        "pt": "Este PC tem pouca memoria. Avise o docente.",
        "it": "Questo PC ha poca memoria. Avvisare il docente.",
    },
    "failed": {
        "de": "Der Startserver antwortet nicht. Neuer Versuch in %s s.",
        "fr": "Le serveur de demarrage ne repond pas. Nouvel essai dans %s s.",
        "es": "El servidor de arranque no responde. Nuevo intento en %s s.",
        "pt": "O servidor de arranque nao responde. Nova tentativa em %s s.",
        "it": "Il server di avvio non risponde. Nuovo tentativo tra %s s.",
    },
}


def lines(seat: Seat, key: str, number: int = 0) -> tuple[str, ...]:
    """Return a script's line with the sentence ``key`` in the seat's language; none in English."""
    language = seat.own.locale.partition("_")[0]
    sentence = SENTENCES[key].get(language)
    return () if sentence is None else (f"echo netboot: {sentence.replace('%s', str(number))}",)
