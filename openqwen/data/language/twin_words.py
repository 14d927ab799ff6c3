"""Words that tell near twins apart: common in their language, and no words of its twins.

    twin_hits("sila cuba lagi, ralat tidak dijangka".split(), "id")     # {"ms": 3, "id": 0}

Models learnt from text that is mixed up itself (Malay and Indonesian, Danish and Norwegian) err
where a reader sees one such word and knows. They come from grammars, not from the texts measured.
"""

from collections.abc import Iterable
from functools import cache

_MALAY = {
    "ms": """adakah akaun automatik awak bahawa beza butang cakera cuba disember emel fail fon
        hendaklah ialah imej isnin julai kerana kesemua khamis kongsi laluan maklumat mahu mesej
        ogos padam paparan paparkan pautan pelayan perisian ralat sahaja sebarang sekiranya semasa
        senarai sila skrin tetapan tetingkap wang""",
    "id": """agustus akun apakah bahwa beda berbagi berkas bisa coba desember diaktifkan galat hapus
        informasi jaringan jendela juli kalender kamis karena mau mencoba menghapus nonaktifkan
        otomatis pengaturan peramban perangkat ponsel pratinjau saja sandi setelan silakan surel
        tampilan tampilkan tautan tombol uang unduh unggah""",
}
_SCANDINAVIAN = {
    "da": """adgang adgangskode af afslut angiv besked billede billeder blev bliver bruge bruger
        brugere brugeren bruges brugt dig efter ejer fejl findes gem gemme gemmes gør hjælp hvad
        igen ind indhold indsæt indstillinger køre læse læst meddelelse mellem mere mig netværk
        noget nogen nogle op opret oprettet oversættelse sig slet sæt søg søge tilføj tilgængelig
        tillad tilladt titel ud uden udskriv understøttes understøttet vindue vælg vælge værdi åben
        åbn åbne ændre ændret ændringer""",
    "no": """bilde bilder ble bruke bruker brukere brukeren brukes brukt deg endre endret etter feil
        finnes hjelp hva igjen inn innhold innstillinger kjøre kjører lagre lagres lagret legg
        lengde lese lest meg melding meldinger mellom nettverk noe noen nå opprett opprettet
        oversettelse passord seg støtter støttes søk tilgang tilgjengelig tillat tillatt tittel
        uten velg velge verdi vindu åpen åpne""",
    "sv": """använd använda användare användaren används att byt fel från fönster för hjälp inte
        inställningar lägg lösenord meddelande mellan misslyckades nästa nätverk och ogiltig okänd
        redan spara stäng sök till tillgänglig upp utan vad välj värde är öppna ändra över""",
}
_IBERIAN = {
    "gl": """accións algunha algúns amosa amosar axuda aínda calquera cartafol cartafoles coa coas
        contrasinal cun cunha dende despois dun dunha enderezo engadir escolla escoller estea garde
        hai imaxe imaxes mensaxe mensaxes moi máis ningunha non nun nunha opcións poida pola polas
        polo polos páxina páxinas quere sen seleccións súa súas tamén ten teña unha unhas versións
        vostede xa xanela xeral xestión xestor""",
    "pt": """ainda ajuda ação até com configuração depois disponível em então função há imagem
        imagens informação janela já ligação ligações mais mensagem mensagens muito nenhum nenhuma
        num numa não opção opções palavra pasta pela pelas pelo pelos possível qualquer seleção sem
        senha são também uma umas usuário utilizador utilizadores versão você""",
    "es": """archivo archivos carpeta carpetas contraseña del después el entonces hacia hasta la las
        lo los mientras muy según todavía también una usted ventana y""",
}
_WEST_SLAVIC = {
    "cs": """aby adresář byl byla bylo byly být jako jestliže ještě její již kteří která které který
        lze může můžete nastavení nebo nejsou nelze není neznámý otevřít podle pokud pouze před při
        příkaz příliš se složka složku složky smazat soubor souboru soubory souborů této uložit
        uživatel uživatele vybrat vytvořit více všech všechny zobrazit zpráva zprávu zprávy změnit
        žádné žádný""",
    "sk": """ak ako alebo bol bola boli bolo budú byť cez iba ktorá ktoré ktorý len môže môžete
        nastavenia nastavenie neznámy nie odstrániť otvoriť podľa používateľ používateľa pre pred
        priečinka priečinok príkaz sa správa súbor súboru súborov súbory sú uložiť vybrať vytvoriť
        všetky všetkých zatvoriť zmeniť zobraziť ďalší žiadne žiadny""",
}
_SOUTH_SLAVIC = {
    "sl": """bo bodo brez čas datotek geslo izberi izberite izbrano ker ki kjer kot lahko med mogoče
        možnost možnosti naj napaka naslednji nastavitev nastavitve ni niso obstaja odpri odstrani
        omogoči onemogoči podpira shrani sporočila sporočilo strežnik ter tudi uporabi uporablja
        uporabnik uporabnika več vendar vključi vrednost vse zapri zaradi še""",
    "hr": """ako bez dopuštenja gdje greška ili izbornik kao koja koje koji korisnik korisnika
        koristi lozinka moguće mogu može nalazi naredba nepoznata nepoznati neuspjelo nije nisu
        odaberi odaberite omogući onemogući ova ovaj ove ovo pogreška poruka poruke poruku
        poslužitelj postavke postoji preuzmi prije sljedeći spremi stvori sve učitaj uspješno uvijek
        više vrijednost vrijeme zatvori što""",
}
_CYRILLIC = {
    "bg": """беше бъдат бъде всички във която които който което към със списък този тази това тези
        файлът че ще вашия изтриване като няма отваряне показване потребител потребителя""",
    "mk": """бидат биде вашиот во ги го датотеката дека корисникот оваа овие овој порака пораката
        пораки поставувања прозорецот сите со сѐ ќе""",
    "sr": """бити вашег више датотеке датотеку изабери изабрану је када корисника која које који
        није нису обриши овај ово подешавања порука поруке поруку сада сачувај све су ће фасцикла
        фасцикле фасциклу""",
    "ru": """будет был все выберите вы для если ещё из как можно невозможно нельзя ошибка папки
        письма письмо только файла файлы что чтобы это этот""",
}
TWINS = (_MALAY, _SCANDINAVIAN, _IBERIAN, _WEST_SLAVIC, _SOUTH_SLAVIC, _CYRILLIC)


@cache
def _tables() -> dict[str, dict[str, frozenset[str]]]:
    """Return language -> the words of it and of each of its twins."""
    tables = [{code: frozenset(words.split()) for code, words in group.items()} for group in TWINS]
    return {code: table for table in tables for code in table}


def twin_hits(words: Iterable[str], language: str) -> dict[str, int]:
    """Return how many different words tell for a language and for its twins; {} if it has none."""
    table = _tables().get(language)
    if table is None:
        return {}
    seen = set(words)
    return {code: len(own & seen) for code, own in table.items()}
